"""`python -m bench.workload_generator PACKAGE` writes workload.json, the same one on every machine.

It has 32 chats of 37 to 253 prompt tokens and 29 to 128 output tokens. No two chats begin alike, so that nobody gains by having
read the beginning of a prompt before: that is measured by itself.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from bench.workload import DEFAULT_WORKLOAD, Chat, dump_workload

from ai_assistant.engine.tokenizer import Tokenizer

NUM_CHATS = 32
PROMPT_TOKENS = (37, 253)
OUTPUT_TOKENS = (29, 128)
_SEED = 83980  # its lengths fill both ranges and are even over the list
_PROSE = Path(__file__).with_name("prose.txt")
_TRADES = ("miller", "baker", "captain", "botanist", "keeper", "engineer", "student", "cook", "clerk", "maker")


def generate(tokenizer: Tokenizer) -> list[Chat]:
    """Deterministic for one tokenizer."""
    random_numbers = random.Random(_SEED)
    words = _PROSE.read_text(encoding="utf-8").split()
    return [_chat(tokenizer, random_numbers, words, number) for number in range(NUM_CHATS)]


def _chat(tokenizer: Tokenizer, random_numbers: random.Random, words: list[str], number: int) -> Chat:
    wanted, output_tokens = random_numbers.randint(*PROMPT_TOKENS), random_numbers.randint(*OUTPUT_TOKENS)
    start = random_numbers.randrange(len(words) - PROMPT_TOKENS[1])
    system = f"{number + 1} is your number, {_TRADES[number % len(_TRADES)]}."
    user, prompt_ids = "", _encode(tokenizer, system, "Go on:")
    for end in range(start + 1, len(words)):
        longer = f"Go on: {' '.join(words[start:end])}"
        ids = _encode(tokenizer, system, longer)
        if len(ids) > max(wanted, PROMPT_TOKENS[0]):
            break
        user, prompt_ids = longer, ids
    return Chat(system, user, prompt_ids, output_tokens)


def _encode(tokenizer: Tokenizer, system: str, user: str) -> list[int]:
    return tokenizer.encode_chat([{"role": "system", "content": system}, {"role": "user", "content": user}])


if __name__ == "__main__":
    DEFAULT_WORKLOAD.write_text(dump_workload(generate(Tokenizer.load(sys.argv[1]))), encoding="utf-8")
