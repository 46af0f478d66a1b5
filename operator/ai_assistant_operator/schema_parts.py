"""What the Assistant's models are made of: their base, rules in CEL, and references to Secrets."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

Rule = dict[str, str]


def rule(expression: str, message: str, path: str | None = None) -> Rule:
    """One CEL rule: what must hold, and what people read when it does not."""
    found = {"rule": expression, "message": message}
    return found if path is None else {**found, "fieldPath": path}


def rules(*given: Rule) -> dict[str, Any]:
    return {"x-kubernetes-validations": list(given)}


class Part(BaseModel):
    """A part of the Assistant."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, validate_by_name=True, use_attribute_docstrings=True
    )


IntOrPercent = Annotated[int | str, WithJsonSchema({"x-kubernetes-int-or-string": True})]
Quantity = Annotated[int | str, WithJsonSchema({"x-kubernetes-int-or-string": True})]
TelegramId = Annotated[int, WithJsonSchema({"type": "integer", "format": "int64"})]

_DNS_NAME = r"self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')"


class SecretKeyRef(Part):
    """A key of a Secret in the same namespace. Pods read it; the operator never does."""

    name: str = Field(
        min_length=1,
        max_length=253,
        json_schema_extra=rules(rule(_DNS_NAME, "write the name of a Secret: lower-case letters, digits, '-' and '.'")),
    )
    """Name of the Secret."""


class TokenSecretRef(SecretKeyRef):
    """A key of a Secret in the same namespace. Pods read it; the operator never does."""

    key: str = Field("token", min_length=1, max_length=253)
    """Key within the Secret."""


class ApiKeySecretRef(SecretKeyRef):
    """A key of a Secret in the same namespace. Pods read it; the operator never does."""

    key: str = Field("api-key", min_length=1, max_length=253)
    """Key within the Secret."""
