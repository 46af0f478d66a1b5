"""What an answer is sent as: the plan that the ledger keeps, one JSON object per message."""

from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

from telegramify_markdown.entity import utf16_len

MESSAGE_UNITS = 4096
"""UTF-16 code units in a message, after the entities are taken out."""

PART_UNITS = 4000
"""Of these: a part that is sent again needs room for its mark."""


class Entity(TypedDict):
    """A MessageEntity as the Bot API takes it; offset and length in UTF-16 code units."""

    type: str
    offset: int
    length: int
    url: NotRequired[str]
    language: NotRequired[str]


@dataclass(frozen=True)
class TextPart:
    """One message of text."""

    text: str
    entities: tuple[Entity, ...] = ()

    def plain(self) -> "TextPart":
        """The same text without entities, for a Telegram that refuses them."""
        return TextPart(self.text)

    def to_json(self) -> dict[str, Any]:
        return {"kind": "text", "text": self.text, "entities": [dict(entity) for entity in self.entities]}


@dataclass(frozen=True)
class DocumentPart:
    """One file with a text inside."""

    filename: str
    text: str
    caption: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"kind": "document", "filename": self.filename, "text": self.text, "caption": self.caption}


Part = TextPart | DocumentPart


def from_json(part: dict[str, Any]) -> Part:
    """A part as `to_json` wrote it. Raises KeyError or ValueError for anything else."""
    if part["kind"] == "text":
        return TextPart(part["text"], tuple(part["entities"]))
    if part["kind"] == "document":
        return DocumentPart(part["filename"], part["text"], part["caption"])
    raise ValueError(f"A part of an answer is a text or a document, not {part['kind']!r}")


def marked(part: TextPart, mark: str) -> TextPart:
    """The part with the mark of an uncertain resend before its text."""
    moved = utf16_len(mark)
    entities: list[Entity] = [{**entity, "offset": entity["offset"] + moved} for entity in part.entities]
    return TextPart(mark + part.text, tuple(entities))
