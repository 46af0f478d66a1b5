"""How the values of settings are written and read; what is wrong is told without showing what may be a secret."""

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, SecretStr
from pydantic_settings import NoDecode


class ApiKey(BaseModel):
    """One bearer key; `name` becomes the user `key:<name>`."""

    name: str
    key: SecretStr


def split(value: Any) -> Any:
    """Turn `a, b` into its parts."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def parse_keys(value: Any) -> Any:
    """Turn `secret1,alice:secret2` into named keys; a key without a name is called `key1`, `key2`, …
    Raises ValueError, without the key in its text, for what is no bearer token, above all the empty key."""
    if not isinstance(value, str):
        return value
    keys = []
    for index, item in enumerate(split(value), start=1):
        name, _, key = item.partition(":") if ":" in item else (f"key{index}", ":", item)
        if not name or not re.fullmatch("[!-~]+", key):
            raise ValueError(f"item {index} should be `key` or `name:key`, the key being ASCII letters, digits and signs")
        keys.append(ApiKey(name=name, key=SecretStr(key)))
    return keys


Keys = Annotated[list[ApiKey], NoDecode, BeforeValidator(parse_keys)]
Words = Annotated[list[str], NoDecode, BeforeValidator(split)]
Ids = Annotated[list[int], NoDecode, BeforeValidator(split)]


def check_device(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", value):
        raise ValueError("should be auto, cpu, cuda or cuda:INDEX, for example cuda:0")
    return value


def check_remote_url(value: str) -> str:
    """The URL without its last slash; raises ValueError for what cannot be a base URL, without showing what may be a password."""
    try:
        parts = urlsplit(value)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ValueError("should be a base URL such as http://127.0.0.1:8080/v1")
    if parts.username is not None or parts.password is not None:
        raise ValueError("leave the password away; a key belongs into AI_ASSISTANT_REMOTE_API_KEY")
    path = parts.path.rstrip("/")
    if parts.query or parts.fragment or path.endswith("/completions"):
        raise ValueError("should be the base URL only, without /chat/completions and without ?")
    if not path:
        raise ValueError(f"the path is missing; most servers want {parts.scheme}://{parts.netloc}/v1")
    return f"{parts.scheme}://{parts.netloc}{path}"
