"""The chats that every contender answers: the token ids of their prompts, and how many tokens each answer has."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

DEFAULT_WORKLOAD = Path(__file__).with_name("workload.json")


@dataclass(frozen=True)
class Chat:
    """`prompt_ids` is what the chat template makes of the two messages."""

    system: str
    user: str
    prompt_ids: list[int]
    output_tokens: int

    @property
    def messages(self) -> list[dict[str, str]]:
        return [{"role": "system", "content": self.system}, {"role": "user", "content": self.user}]


def load_workload(path: Path = DEFAULT_WORKLOAD) -> list[Chat]:
    """Raises ValueError with a sentence for a file that is no workload."""
    try:
        chats = [Chat(**chat) for chat in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a workload, a JSON list of {', '.join(Chat.__annotations__)}: {error}") from error
    if not chats or not all(chat.prompt_ids and chat.output_tokens > 1 for chat in chats):
        raise ValueError(f"{path} is not a workload: every chat needs prompt ids and at least two output tokens.")
    return chats


def dump_workload(chats: Sequence[Chat]) -> str:
    lines = ",\n".join(json.dumps(asdict(chat), ensure_ascii=False) for chat in chats)
    return f"[\n{lines}\n]\n"


def prompt_of(chats: Sequence[Chat], length: int, start: int = 0) -> list[int]:
    """Exactly `length` ids of the workload's own text; another `start` gives a prompt that begins otherwise."""
    ids = [token for chat in chats for token in chat.prompt_ids]
    start = start * 997 % len(ids)
    repeated = ids[start:] + ids * (length // len(ids) + 1)
    return repeated[:length]
