"""What the status of an Assistant holds: for the CRD and for whoever reads one. Times are as the API writes them (RFC 3339)."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from ai_assistant_operator.schema_parts import Part

Time = Annotated[datetime, WithJsonSchema({"type": "string", "format": "date-time"})]
Whole = Annotated[int, WithJsonSchema({"type": "integer", "format": "int64"})]


class Condition(Part):
    """One aspect of the state."""

    type: str = Field(max_length=316)
    """Ready, ModelAvailable, Progressing, Scaled or Degraded."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: str = Field(max_length=1024)
    """Why, in one word that stays the same over releases."""
    message: str = Field(max_length=32_768)
    """Why, in a sentence."""
    last_transition_time: Time
    """When status changed last."""
    observed_generation: Whole | None = None
    """The generation of the spec that this is about."""


class Queue(Part):
    """The work that waits."""

    depth: Whole | None = None
    """Requests that wait."""
    oldest_seconds: float | None = None
    """How long the oldest of them has waited."""


class ProvisionedModel(Part):
    """A model in the store."""

    source: str | None = None
    """Where it came from."""
    requested_revision: str | None = None
    """The revision that was asked for."""
    revision: str | None = None
    """The commit that it meant."""
    precision: str | None = None
    """The precision that was asked for."""
    digest: str | None = None
    """Digest of the package."""
    version: str | None = None
    """Short name of source, revision and precision together."""
    package: str | None = None
    """Folder of the package in the store."""


class Provisioning(Part):
    """A model on its way into the store."""

    stage: str | None = None
    """What is being done."""
    bytes: Whole | None = None
    """Bytes done."""
    total: Whole | None = None
    """Bytes in all, where known."""
    bytes_per_second: Whole | None = None
    """Speed of now."""
    eta_seconds: Whole | None = None
    """Time left, by that speed."""
    attempt: Whole | None = None
    """Which attempt this is; the first is 1."""
    next_attempt_at: Time | None = None
    """When the next one starts, after a failure."""


class ScalingDecision(Part):
    """The last decision on the number of workers."""

    replicas: Whole | None = None
    """How many."""
    reason: str | None = None
    """Why."""
    at: Time | None = None
    """Since when."""


class AssistantStatus(Part):
    """What there is. Written by the operator only."""

    phase: str | None = None
    """Pending, Provisioning, Ready, Idle, Scaling, Updating, Degraded, Failed, Paused or Deleting."""
    message: str | None = None
    """The state in a sentence."""
    observed_generation: Whole | None = None
    """The generation of the spec that all this is about."""
    conditions: tuple[Condition, ...] | None = Field(
        None, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
    )
    """Ready, ModelAvailable, Progressing, Scaled and Degraded."""
    replicas: Whole | None = None
    """Workers that exist."""
    ready_replicas: Whole | None = None
    """Workers that take work."""
    desired_replicas: Whole | None = None
    """Workers that are wanted."""
    selector: str | None = None
    """Labels of the workers, for autoscalers."""
    queue: Queue | None = None
    """The work that waits."""
    model: ProvisionedModel | None = None
    """The model that workers run."""
    previous_models: tuple[ProvisionedModel, ...] | None = None
    """Models of before that are still in the store, newest first."""
    provisioning: Provisioning | None = None
    """A model on its way into the store."""
    decision: ScalingDecision | None = None
    """The last decision on the number of workers."""
