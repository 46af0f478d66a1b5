"""What an Assistant says of its workers: how many, on what, and how they are replaced."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from ai_assistant_operator.schema_parts import IntOrPercent, Part, Quantity, rule, rules


class Scaling(Part):
    """How many workers there are, by the work that waits for them."""

    min_replicas: int = Field(0, ge=0, le=1000)
    """Workers kept without any work; 0 frees everything while nobody talks to it."""

    max_replicas: int = Field(1, ge=1, le=1000)
    """Workers at most."""

    target_queue_depth: int = Field(5, ge=1, le=100_000)
    """Requests that may wait per worker, besides those that it answers at once; with more, workers are added."""

    max_wait_seconds: int | None = Field(None, ge=1, le=86_400)
    """A request that waits longer adds workers, however short the queue is; unset: no such limit."""

    idle_seconds: int = Field(300, ge=0, le=604_800)
    """How long workers stay after their last work."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.minReplicas <= self.maxReplicas",
                "minReplicas is above maxReplicas: write a maxReplicas that is at least minReplicas",
                ".minReplicas",
            )
        )
    )


class Accelerator(Part):
    """What workers compute on."""

    type: Literal["none", "cuda"] = "none"
    """none: processors; cuda: NVIDIA GPUs."""

    count: int | None = Field(None, ge=1, le=16)
    """GPUs per worker; unset: 1 with cuda."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("self.type != 'none' || !has(self.count)", "count counts GPUs: write type: cuda, or remove count", ".count")
        )
    )

    @property
    def gpus(self) -> int:
        return 0 if self.type == "none" else self.count or 1


_QUANTITIES = rules(
    rule("self.all(name, isQuantity(string(self[name])))", "write amounts as 500m, 2 or 4Gi"),
    rule(
        "self.all(name, name in ['cpu', 'memory', 'ephemeral-storage'])",
        "write amounts of cpu, memory and ephemeral-storage; GPUs are asked for by accelerator: {type: cuda, count: 1}",
    ),
)
Quantities = Annotated[dict[str, Quantity], Field(max_length=3, json_schema_extra=_QUANTITIES)]


class Resources(Part):
    """What each worker asks of its node; by name in place of the chart's."""

    requests: Quantities | None = None
    """Reserved for it: cpu, memory."""

    limits: Quantities | None = None
    """The most that it gets."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.requests) || !has(self.limits) || self.requests.all(name, !(name in self.limits)"
                " || !isQuantity(string(self.requests[name])) || !isQuantity(string(self.limits[name]))"
                " || quantity(string(self.requests[name])).compareTo(quantity(string(self.limits[name]))) <= 0)",
                "a request is above its limit: write requests that are at most the limits",
            )
        )
    )


_COUNT = "type(self) == int ? self >= 0 : self.matches('^(100|[0-9]{1,2})%$')"
_ZERO = "(type({0}) == int ? {0} == 0 : {0} == '0%')"


class Rollout(Part):
    """How workers are replaced when the model or their settings change."""

    max_surge: IntOrPercent = Field(
        1, json_schema_extra=rules(rule(_COUNT, "write a number of workers, 0 or more, or a percentage such as 25%"))
    )
    """Workers above the number wanted meanwhile, as a number or a percentage."""

    max_unavailable: IntOrPercent = Field(
        0, json_schema_extra=rules(rule(_COUNT, "write a number of workers, 0 or more, or a percentage such as 25%"))
    )
    """Workers that may be missing meanwhile; with maxSurge 0 no spare capacity is needed."""

    revision_history_limit: int = Field(2, ge=0, le=100)
    """Models of before that stay in the store: going back to one of them downloads nothing."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                f"!({_ZERO.format('self.maxSurge')} && {_ZERO.format('self.maxUnavailable')})",
                "no worker could ever be replaced: write a maxSurge or a maxUnavailable above 0",
                ".maxUnavailable",
            )
        )
    )
