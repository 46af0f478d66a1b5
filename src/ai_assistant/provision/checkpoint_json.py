"""What the readers of a checkpoint's JSON files share: each surprise in a file is one sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ai_assistant.errors import ModelPackageError, UnsupportedArchitectureError, UnsupportedModelError

CONFIG_FILE = "config.json"

# The bounds are beyond any model; they keep arithmetic with damaged numbers from failing.
Count = Annotated[int, Field(gt=0, lt=2**31)]
Positive = Annotated[float, Field(gt=0, lt=1e12)]


_HALF_CHARACTER = re.compile(rb"\\u[dD][89a-fA-F]")


class Section(BaseModel):
    """Some keys of a file; those that are not named here are not read."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


_Section = TypeVar("_Section", bound=Section)


def read_json_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a checkpoint."""
    try:
        raw = path.read_bytes()
        content = json.loads(raw)
        if _HALF_CHARACTER.search(raw):
            # Half of a pair of UTF-16 is JSON but no text, and could not be written into a package.
            json.dumps(content, ensure_ascii=False).encode()
    except OSError as error:
        raise ModelPackageError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise ModelPackageError(f"{path.name} is not JSON; download it again.") from error
    if not isinstance(content, dict):
        raise ModelPackageError(f"{path.name} is not a JSON object; download it again.")
    return content


def token_ids(value: Any, file: str) -> tuple[int, ...]:
    """The ids of a key that may hold one, several or none."""
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if not all(type(token_id) is int and token_id >= 0 for token_id in ids):
        raise ModelPackageError(f"{file} names {value!r} as the token that ends an answer, which is not a token id.")
    return tuple(ids)


def unsupported(what: str) -> UnsupportedArchitectureError:
    """The sentence about something that a model computes with."""
    return UnsupportedArchitectureError(f"This model uses {what}, which is not supported.")


def validated(model: type[_Section], content: dict[str, Any]) -> _Section:
    """The keys that `model` names; raises UnsupportedModelError for a value that it does not take."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise unsupported(f"rope scaling with {key}") from error
        raise UnsupportedModelError(f"{CONFIG_FILE} makes no sense to this release ({key}: {first['msg']}).") from error
