"""Messages to the prompt, trimmed to the model's context.

A chat that has outgrown the context loses its oldest turns, and more of them than need be: down to `keep_ratio` of the
limit. So the next turns only append, the beginning of the prompt stays the same, and a worker can reuse what it has
computed. To find that same beginning again without remembering anything, the trimming of all earlier turns is replayed,
with token counts per message.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence, Sized
from itertools import accumulate
from typing import Protocol, TypeVar

from ai_assistant.errors import InvalidRequestError, PromptTooLongError

Message = Mapping[str, str]
P = TypeVar("P", bound=Sized)
P_co = TypeVar("P_co", bound=Sized, covariant=True)


class ChatEncoder(Protocol[P_co]):
    """A Tokenizer, or what only knows how long its results would be."""

    def encode_chat(self, messages: Sequence[Message], *, add_generation_prompt: bool = True) -> P_co: ...

    def encode_plain(self, text: str) -> Sized: ...


_INSTRUCTION_ROLES = frozenset({"system", "developer"})


def build_prompt(
    tokenizer: ChatEncoder[P], messages: Sequence[Message], *, max_prompt_tokens: int, keep_ratio: float = 0.75
) -> P:
    """The encoded chat, at most `max_prompt_tokens` long; instructions and the last user message always stay."""
    messages = _tidied(messages)
    if not messages:
        raise InvalidRequestError("There is no message to answer.")
    token_ids = tokenizer.encode_chat(messages)
    if len(token_ids) <= max_prompt_tokens:
        return token_ids
    turns = [index for index, message in enumerate(messages) if message["role"] == "user"]
    turn = _first_turn(tokenizer, messages, turns, max_prompt_tokens, int(max_prompt_tokens * keep_ratio))
    # The counts are exact for most templates; where one is not, a turn more has to go.
    for start in turns[turn:]:
        token_ids = tokenizer.encode_chat(_from_turn(messages, start))
        if len(token_ids) <= max_prompt_tokens:
            return token_ids
    raise PromptTooLongError(
        f"The message is too long: with the instructions it takes {len(token_ids)} tokens, and {max_prompt_tokens} fit. "
        "Shorten it."
    )


def _tidied(messages: Sequence[Message]) -> list[Message]:
    """Without empty answers, which a cancelled task leaves behind, and with one user message where several follow each other."""
    tidied: list[Message] = []
    for message in messages:
        if message["role"] == "assistant" and not message["content"].strip():
            continue
        if tidied and message["role"] == tidied[-1]["role"] == "user":
            tidied[-1] = {**message, "content": f"{tidied[-1]['content']}\n\n{message['content']}"}
        else:
            tidied.append(message)
    return tidied


def _from_turn(messages: Sequence[Message], start: int) -> list[Message]:
    """The messages from index `start` on, and all instructions before it."""
    return [message for index, message in enumerate(messages) if index >= start or message["role"] in _INSTRUCTION_ROLES]


def _first_turn(tokenizer: ChatEncoder[Sized], messages: Sequence[Message], turns: list[int], limit: int, target: int) -> int:
    """The number of the first turn to keep, as it follows from the turns before the last one."""
    fixed, costs = _token_counts(tokenizer, messages)
    before = list(accumulate(costs, initial=fixed))
    before_turn = [before[start] - fixed for start in turns]
    first = 0
    for turn, index in enumerate(turns):
        # When this turn was asked, the prompt ended with its user message (the last one: with all there is).
        size = before[index + 1 if turn < len(turns) - 1 else len(messages)]
        if size - before_turn[first] > limit:
            first = bisect_left(before_turn, size - target, lo=first, hi=turn)
    return first


def _token_counts(tokenizer: ChatEncoder[Sized], messages: Sequence[Message]) -> tuple[int, list[int]]:
    """The tokens of a chat without its turns, and those of each message with its markup (instructions: in the former)."""
    user, assistant = ({"role": role, "content": "x"} for role in ("user", "assistant"))
    instructions = [message for message in messages if message["role"] in _INSTRUCTION_ROLES]
    question = len(tokenizer.encode_chat([user], add_generation_prompt=False))
    of_assistant = len(tokenizer.encode_chat([user, assistant], add_generation_prompt=False)) - question
    of_turn = len(tokenizer.encode_chat([user, assistant, user], add_generation_prompt=False)) - question
    of_user = of_turn - of_assistant
    fixed = len(tokenizer.encode_chat([*instructions, user])) - of_user
    word = len(tokenizer.encode_plain("x"))
    costs = []
    for message in messages:
        markup = (of_user if message["role"] == "user" else of_assistant) - word
        is_instruction = message["role"] in _INSTRUCTION_ROLES
        costs.append(0 if is_instruction else len(tokenizer.encode_plain(message["content"])) + markup)
    return fixed, costs
