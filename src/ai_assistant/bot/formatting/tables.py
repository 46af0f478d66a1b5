"""Tables: aligned columns where they fit the screen of a phone, else a list of `column: value`."""

from collections.abc import Sequence
from dataclasses import replace

from wcwidth import wcswidth

from ai_assistant.bot.formatting.spans import Formatted, Span

MAX_COLUMNS = 48
"""Characters of equal width that a phone shows in one line, roughly; beyond it lines wrap and nothing is aligned."""

Row = list[Formatted]


def table(rows: list[Row], alignments: Sequence[str]) -> Formatted:
    """The rows as text, the first of them being the header."""
    columns = max((len(row) for row in rows), default=0)
    if not columns:
        return Formatted("")
    filled = [row + [Formatted("")] * (columns - len(row)) for row in rows]
    widths = [max(_width(row[column].text) for row in filled) for column in range(columns)]
    has_links = any(span.kind == "text_link" for row in rows for cell in row for span in cell.spans)
    if not has_links and sum(widths) + 3 * (columns - 1) <= MAX_COLUMNS:
        return _aligned(filled, widths, alignments)
    return _listed(filled)


def _aligned(rows: list[Row], widths: list[int], alignments: Sequence[str]) -> Formatted:
    lines = []
    for row in rows:
        cells = []
        for index, (cell, width) in enumerate(zip(row, widths, strict=True)):
            is_right = index < len(alignments) and alignments[index] == "Right"
            blank = " " * (width - _width(cell.text))
            cells.append(blank + cell.text if is_right else cell.text + blank)
        lines.append(" │ ".join(cells).rstrip())
    lines.insert(1, "─┼─".join("─" * width for width in widths))
    text = "\n".join(lines)
    return Formatted(text, (Span("pre", 0, len(text)),))


def _listed(rows: list[Row]) -> Formatted:
    """Every row as a paragraph of its own: its first cell as the title, the others with the names of their columns."""
    header, *body = rows
    text = ""
    spans: list[Span] = []

    def add(cell: Formatted) -> None:
        nonlocal text
        spans.extend(replace(span, start=span.start + len(text), end=span.end + len(text)) for span in cell.spans)
        text += cell.text

    for row in body or [header]:
        start = len(text)
        if header[0].text and body:
            add(Formatted(f"{header[0].text}: "))
        add(Formatted(row[0].text, tuple(span for span in row[0].spans if span.kind != "bold")))
        spans.append(Span("bold", start, len(text)))
        for name, cell in zip(header[1:], row[1:], strict=True):
            text += "\n"
            if body and name.text:
                add(Formatted(f"{name.text}: "))
            add(cell)
        text += "\n\n"
    return Formatted(text.rstrip("\n"), tuple(spans))


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    return max(wcswidth(text), 0)
