"""Messages to the prompt, trimmed to the model's context.

A chat that has outgrown the context loses its oldest turns, and more of them than need be: down to `keep_ratio` of the
limit. So the next turns only append, the beginning of the prompt stays the same, and a worker can reuse what it has
computed. To find that same beginning again without remembering anything, the trimming of all earlier turns is replayed,
with token counts per message.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate

from ai_assistant.engine.tokenizer import Tokenizer
from ai_assistant.errors import InvalidRequestError, PromptTooLongError

Message = Mapping[str, str]

_INSTRUCTION_ROLES = frozenset({"system", "developer"})


def build_prompt(
    tokenizer: Tokenizer, messages: Sequence[Message], *, max_prompt_tokens: int, keep_ratio: float = 0.75
) -> list[int]:
    """Token ids of at most `max_prompt_tokens`; instructions and the last user message always stay."""
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


def _first_turn(tokenizer: Tokenizer, messages: Sequence[Message], turns: list[int], limit: int, target: int) -> int:
    """The number of the first turn to keep, as it follows from the turns before the last one."""
    fixed, markup = _markup_tokens(tokenizer)
    costs = [len(tokenizer.encode_plain(message["content"])) + markup for message in messages]
    is_instruction = [message["role"] in _INSTRUCTION_ROLES for message in messages]
    instructions = list(accumulate((c if i else 0 for c, i in zip(costs, is_instruction, strict=True)), initial=fixed))
    history = list(accumulate((0 if i else c for c, i in zip(costs, is_instruction, strict=True)), initial=0))
    before_turn = [history[start] for start in turns]
    first = 0
    for turn, index in enumerate(turns):
        # When this turn was asked, the prompt ended with its user message (the last one: with all there is).
        end = index + 1 if turn < len(turns) - 1 else len(messages)
        if instructions[end] + history[end] - before_turn[first] > limit:
            first = bisect_left(before_turn, instructions[end] + history[end] - target, lo=first, hi=turn)
    return first


def _markup_tokens(tokenizer: Tokenizer) -> tuple[int, int]:
    """Tokens that the chat template adds to a chat and to each of its messages."""
    user, assistant = ({"role": role, "content": "x"} for role in ("user", "assistant"))
    word = len(tokenizer.encode_plain("x"))
    short = len(tokenizer.encode_chat([user]))
    longer = len(tokenizer.encode_chat([user, assistant, user]))
    per_message = -(-(longer - short) // 2) - word
    return max(0, short - word - per_message), per_message
