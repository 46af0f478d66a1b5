"""An answer that is still being written, as one message."""

from telegramify_markdown.entity import utf16_len

from ai_assistant.bot.formatting.answers import formatted
from ai_assistant.bot.formatting.parts import PART_UNITS, TextPart
from ai_assistant.bot.formatting.snippet import Snippet
from ai_assistant.bot.formatting.source import cleaned
from ai_assistant.bot.formatting.spans import Formatted, Span, excerpt, settled
from ai_assistant.bot.formatting.splitting import is_visible, one_message
from ai_assistant.bot.formatting.unfinished import completed, fences

_SOURCE = 3 * PART_UNITS
"""Of a longer text only the end is parsed; this much Markdown makes more than a message in all but odd cases."""

_STEP = 800
"""The beginning of what is shown moves on by about so many characters at a time, not with every word."""

_ELLIPSIS = "…\n"


def preview(markdown: str) -> TextPart:
    """The answer as far as it is there; of a long one the end, after an ellipsis. Empty where there is nothing to see."""
    tail, is_cut = _tail_of_source(cleaned(markdown))
    items = [item for item in formatted(completed(tail), with_snippets=False) if not isinstance(item, Snippet)]
    if not items or not is_visible(items[0].text):
        return TextPart("")
    text = items[0]
    if utf16_len(text.text) <= PART_UNITS - len(_ELLIPSIS):
        if is_cut:
            return one_message(_after_ellipsis(text, 0))
        return one_message(excerpt(text, 0, len(text.text), text.spans))
    return one_message(_after_ellipsis(text, _beginning(text.text)))


def _tail_of_source(markdown: str) -> tuple[str, bool]:
    """The last paragraphs of a very long text, with the block of code reopened in which they begin."""
    if len(markdown) <= _SOURCE + _STEP:
        return markdown, False
    at = len(markdown) - _SOURCE
    at += -at % _STEP
    boundary = markdown.find("\n\n", at, at + _STEP * 4)
    if boundary < 0:
        boundary = markdown.find("\n", at, at + _STEP * 4)
    at = boundary if boundary >= 0 else at
    fence, _ = fences(markdown[:at])
    return (f"{fence}\n{markdown[at:]}" if fence else markdown[at:]), True


def _beginning(text: str) -> int:
    """Where the part begins that fits in a message: at a paragraph, a line or a word."""
    units = utf16_len(text)
    over = units - (PART_UNITS - len(_ELLIPSIS))
    at = over + -over % _STEP
    if units != len(text):
        at = len(text.encode("utf-16-le")[: 2 * at].decode("utf-16-le", "ignore"))
    for boundary in ("\n\n", "\n", " "):
        found = text.find(boundary, at, at + _STEP)
        if found >= 0:
            return found + len(boundary)
    return at


def _after_ellipsis(text: Formatted, start: int) -> Formatted:
    end = excerpt(text, start, len(text.text), text.spans)
    moved = len(_ELLIPSIS)
    spans = tuple(Span(span.kind, span.start + moved, span.end + moved, span.value) for span in end.spans)
    return settled(Formatted(_ELLIPSIS + end.text, spans))
