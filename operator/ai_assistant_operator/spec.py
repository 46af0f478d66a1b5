"""The Assistant: what people write, typed. The CRD is generated from these models, so words and rules here reach everybody.

Rules are CEL and run in the kube-apiserver. What it has accepted is read leniently: fields of a newer version are left alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field

from ai_assistant_operator.schema_parts import ApiKeySecretRef, Part, TelegramId, TokenSecretRef, rule, rules
from ai_assistant_operator.worker_spec import Accelerator, Resources, Rollout, Scaling

MAX_NAME = 40
"""So that the names of all children fit into a label."""

_ADDRESS = r"self.matches('^https?://[^/?#@\\s]+(/[^?#\\s]*)?$')"


class Model(Part):
    """A model that this cluster runs. It is downloaded, verified and prepared once per source, revision and precision."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.revision) || self.source.startsWith('hf://')",
                "only hf:// sources have revisions: remove revision, or put the version into the source",
                ".revision",
            ),
            rule(
                "!has(self.revision) || !self.source.split('#')[0].contains('@')",
                "the revision is given twice: write it either as hf://org/name@revision or as revision",
                ".revision",
            ),
        )
    )

    source: str = Field(
        min_length=1,
        max_length=2048,
        json_schema_extra=rules(
            rule(
                "self.matches('^(hf|https|pypi|file)://')",
                "write where the model comes from: hf://org/name, https://host/file.gguf, pypi://name==version or file:///path",
            ),
            rule(
                r"!self.startsWith('hf://') || self.matches('^hf://[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*(@[^#@\\s]+)?(#\\S+)?$')",
                "write a hub's model as hf://org/name, with @revision or #file.gguf after it where needed",
            ),
            rule(
                r"!self.startsWith('pypi://') || self.matches('^pypi://[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.!+_-]+(#\\S+)?$')",
                "pin the package to one version: pypi://name==version",
            ),
            rule(
                r"!self.startsWith('https://') || self.matches('^https://[^/?#@\\s]+/[^\\s]+$')",
                "write https://host/path without a user name or password; credentials belong into a Secret of the chart",
            ),
            rule(
                r"!self.contains('#sha256=') || self.matches('#sha256=[0-9a-f]{64}$')",
                "write #sha256= and the 64 hexadecimal digits of the file's checksum, in lower case",
            ),
            rule(
                r"!self.startsWith('file://') || self.matches('^file:///[^\\s]+$')",
                "write file:///path with three slashes; the path is one in the provisioner's pod",
            ),
        ),
    )
    """Where it comes from: hf://org/name[@revision][#file], https://host/file.gguf[#sha256=...], pypi://name==version or
    file:///path."""

    revision: str | None = Field(
        None,
        min_length=1,
        max_length=255,
        json_schema_extra=rules(
            rule(r"self.matches('^[^\\s#@]+$')", "write a branch, a tag or a commit, without spaces, # and @")
        ),
    )
    """Branch, tag or commit of an hf:// source; unset: its default branch. The commit it meant is kept in the status."""

    precision: Literal["auto", "fp32", "fp16", "int8", "int8-weights", "int4"] = "auto"
    """Number format of the prepared model; auto: fp16 on a GPU, else the smallest that is exact enough."""


class Remote(Part):
    """A model server elsewhere that speaks OpenAI's protocol; nothing is downloaded."""

    base_url: str = Field(
        max_length=2048,
        json_schema_extra=rules(
            rule(
                _ADDRESS, "write the server's base address, as https://host/v1, without a password, ? and #; use apiKeySecretRef"
            )
        ),
    )
    """Base address, as https://host/v1."""

    model: str | None = Field(None, min_length=1, max_length=255)
    """Name of the model there; unset: the only one that the server lists."""

    api_key_secret_ref: ApiKeySecretRef | None = None
    """Where the server's API key is."""


class Generation(Part):
    """How answers are made where a request says nothing else."""

    max_tokens: int | None = Field(None, ge=1, le=1_000_000)
    """Longest answer in tokens."""

    temperature: float | None = Field(None, ge=0, le=2)
    """Sampling temperature; 0 always takes the likeliest token."""

    top_p: float | None = Field(
        None,
        ge=0,
        le=1,
        json_schema_extra=rules(rule("self > 0.0", "write a number above 0, and at most 1, which is all tokens")),
    )
    """Share of the likeliest tokens that are sampled from."""

    context_length: int | None = Field(None, ge=16, le=10_000_000)
    """Longest prompt plus answer in tokens; unset: what the model can."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.maxTokens) || !has(self.contextLength) || self.maxTokens < self.contextLength",
                "an answer of maxTokens does not fit: write a maxTokens below contextLength",
                ".maxTokens",
            )
        )
    )


class Telegram(Part):
    """A Telegram bot for this assistant."""

    token_secret_ref: TokenSecretRef
    """Where the token from @BotFather is."""

    access: Literal["open", "pairing", "allowlist"] = "pairing"
    """Who may talk to it. pairing: whoever an admin lets in, strangers get a code for that; allowlist: the same without codes;
    open: everybody."""

    admins: tuple[TelegramId, ...] = Field(
        (),
        max_length=100,
        json_schema_extra={
            "x-kubernetes-list-type": "set",
            **rules(
                rule("self.all(id, id > 0)", "write the ids of people, which are positive; the bot tells everybody their id")
            ),
        },
    )
    """Telegram ids of people who may let others in."""

    allowed: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] = Field(
        (),
        max_length=1000,
        json_schema_extra={
            "x-kubernetes-list-type": "set",
            **rules(
                rule(
                    "self.all(who, who.matches('^(-?[0-9]+|@[A-Za-z0-9_]+)$'))",
                    "write ids of people and groups, or names as @name",
                )
            ),
        },
    )
    """Ids of people and groups, or @names, who are let in besides those whom admins let in."""

    messages_per_minute: int | None = Field(None, ge=1, le=6000)
    """How many messages a person may send per minute in the long run."""

    privacy_url: str | None = Field(
        None, max_length=2048, json_schema_extra=rules(rule("self.matches('^https?://')", "write an address: https://..."))
    )
    """Address of your privacy policy."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.access != 'allowlist' || (has(self.admins) && size(self.admins) > 0)"
                " || (has(self.allowed) && size(self.allowed) > 0)",
                "nobody could talk to this bot: name people in admins or allowed, or write access: pairing",
                ".access",
            )
        )
    )


class AssistantSpec(Part):
    """What is wanted."""

    model: Model | None = None
    """The model that this cluster runs for it; exactly one of model and remote is needed."""

    remote: Remote | None = None
    """A model server elsewhere; exactly one of model and remote is needed."""

    instructions: str | None = Field(None, max_length=32_768)
    """What the assistant is told before every conversation (the system prompt)."""

    generation: Generation = Generation()
    """How answers are made where a request says nothing else."""

    telegram: Telegram | None = None
    """A Telegram bot; unset: none."""

    scaling: Scaling = Scaling()
    """How many workers there are, by the work that waits for them."""

    replicas: int | None = Field(None, ge=0, le=1000)
    """A fixed number of workers, by hand or by an autoscaler; remove it and the number follows the work again."""

    accelerator: Accelerator = Accelerator()
    """What workers compute on."""

    resources: Resources = Resources()
    """What each worker asks of its node; by name in place of the chart's."""

    rollout: Rollout = Rollout()
    """How workers are replaced when the model or their settings change."""

    paused: bool = False
    """true: the operator leaves everything as it is, but for deletion."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.model) != has(self.remote)",
                "write exactly one of model (a model that this cluster runs) and remote (a model server elsewhere)",
            ),
            rule(
                "!has(self.remote) || self.accelerator.type == 'none'",
                "with remote nothing is computed here: remove accelerator, or write model in place of remote",
                ".accelerator",
            ),
            rule(
                "!has(self.model) || self.model.precision != 'fp16' || self.accelerator.type == 'cuda'",
                "fp16 is for GPUs: write accelerator: {type: cuda}, or precision: auto",
                ".model.precision",
            ),
        )
    )


NAME_RULES = rules(
    rule(f"size(self.metadata.name) <= {MAX_NAME}", f"the name is too long: write at most {MAX_NAME} characters"),
    rule(
        "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
        "the name becomes part of other names: write lower-case letters, digits and '-', without dots",
    ),
)


@dataclass(frozen=True)
class Assistant:
    """One Assistant as the cluster shows it."""

    name: str
    namespace: str
    uid: str
    generation: int
    resource_version: str
    spec: AssistantSpec
    status: Mapping[str, Any]
    annotations: Mapping[str, str]
    finalizers: tuple[str, ...]
    deletion: str | None
    """When its deletion was asked for, as the API writes it; None: it is to stay."""

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Self:
        """Reads an object of the API; raises pydantic.ValidationError (a ValueError) for a spec that is none."""
        metadata = body["metadata"]
        return cls(
            name=metadata["name"],
            namespace=metadata["namespace"],
            uid=metadata["uid"],
            generation=metadata.get("generation", 1),
            resource_version=metadata.get("resourceVersion", ""),
            spec=AssistantSpec.model_validate(body.get("spec") or {}),
            status=body.get("status") or {},
            annotations=metadata.get("annotations") or {},
            finalizers=tuple(metadata.get("finalizers") or ()),
            deletion=metadata.get("deletionTimestamp"),
        )
