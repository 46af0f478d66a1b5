"""The messages of an answer."""

import logging

from ai_assistant.bot.formatting.parts import DocumentPart, Part, TextPart
from ai_assistant.bot.formatting.rendering import render
from ai_assistant.bot.formatting.snippet import Snippet
from ai_assistant.bot.formatting.source import cleaned
from ai_assistant.bot.formatting.spans import Formatted
from ai_assistant.bot.formatting.splitting import split

logger = logging.getLogger(__name__)


def answer_parts(markdown: str) -> list[Part]:
    """What a model wrote, in messages and documents; empty only where nothing of it can be seen."""
    parts: list[Part] = []
    for item in formatted(markdown):
        if isinstance(item, Snippet):
            parts.append(DocumentPart(item.filename, item.code, item.language))
        else:
            parts += split(item)
    # Nothing but marks, for example an empty fence: still better than no answer.
    return parts or [*plain_parts(markdown)]


def plain_parts(text: str) -> list[TextPart]:
    """A text that is not Markdown, in messages."""
    return split(Formatted(cleaned(text)))


def formatted(markdown: str, *, with_snippets: bool = True) -> list[Formatted | Snippet]:
    """What `render` makes of it, or the plain text where that fails: an answer is never lost to its formatting."""
    try:
        return render(markdown, with_snippets=with_snippets)
    except BaseException as error:
        # A panic of the parser, which is written in Rust, is no Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        logger.exception("An answer of %d characters could not be formatted and goes as plain text", len(markdown))
        return [Formatted(cleaned(markdown))]
