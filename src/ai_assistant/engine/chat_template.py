"""A model's chat template: Jinja source from the model package that turns messages into the one string the model was trained on.

The environment is the one transformers uses, because that is what templates are written for. It is sandboxed: a
template is data of a downloaded model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node, Scope
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ai_assistant.errors import InvalidRequestError, ModelPackageError

# For a model that was never taught to chat: a transcript, which it goes on with.
TRANSCRIPT_TEMPLATE = (
    "{{ beginning }}{% for message in messages %}{{ message.role | capitalize }}: {{ message.content | trim }}\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
# Where such a model begins to speak for the other side.
TRANSCRIPT_STOPS = ("\nUser:", "\nSystem:")


class _RefusedError(TemplateError):
    """The template itself refused the messages."""


class _Generation(Extension):
    """`{% generation %}`, by which a template marks for training what the assistant says; here it is only its content."""

    tags = {"generation"}  # noqa: RUF012 - the base class declares it so

    def parse(self, parser: Parser) -> Node:
        line = next(parser.stream).lineno
        return Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class ChatTemplate:
    """Renders chats. `special_tokens` are the names a template may use, such as `bos_token`."""

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation])
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = _strftime_now
        self._special_tokens = dict(special_tokens)
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise ModelPackageError(f"The model's chat template is broken: {error}.") from error

    def render(self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True) -> str:
        """The chat as one string; with `add_generation_prompt` it ends where the assistant is to speak."""
        try:
            return self._template.render(
                messages=[dict(message) for message in messages],
                add_generation_prompt=add_generation_prompt,
                **self._special_tokens,
            )
        except _RefusedError as error:
            raise InvalidRequestError(f"The model's chat template refuses these messages: {error}.") from error
        except Exception as error:  # a template can do anything, a division by zero too
            raise ModelPackageError(f"The model's chat template failed: {error}.") from error


def _refuse(message: str) -> NoReturn:
    raise _RefusedError(str(message).rstrip("."))


def _strftime_now(pattern: str) -> str:
    return datetime.now().astimezone().strftime(pattern)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
