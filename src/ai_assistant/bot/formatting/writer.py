"""A text while it is written: lines, indentation, bullets and quotes appear with the first characters that need them."""

from ai_assistant.bot.formatting.spans import Formatted, Span, settled

_MAX_INDENT = 6
"""Levels of lists; deeper ones are no further to the right, or the screen ends."""


class Writer:
    """What has been written so far, and in what it stands."""

    def __init__(self) -> None:
        self.length = 0
        self.styles: list[tuple[str, int, str]] = []
        """What is open: its kind, where it began, and an address or a mark."""
        self._pieces: list[str] = []
        self._spans: list[Span] = []
        self._line_start = 0
        self._gap = 0
        """Line breaks that are due before the next block."""
        self._marker = ""
        """The bullet of an item of which nothing is written yet."""
        self._lists: list[int | None] = []
        self._quotes = 0
        self._quote_start: int | None = None
        self._outside: tuple[list[str], int, list[Span]] | None = None
        """The text around the table whose cell is being written."""

    @property
    def is_in_cell(self) -> bool:
        return self._outside is not None

    def finished(self) -> Formatted | None:
        """Close the text, or None if nothing is in it; what follows begins another one."""
        if self._quote_start is not None:
            self.add("blockquote", self._quote_start)
            self._quote_start = 0
        text = "".join(self._pieces)
        formatted = settled(Formatted(text, tuple(self._spans))) if text.strip() else None
        self._pieces, self.length, self._spans, self._gap, self._line_start = [], 0, [], 0, 0
        return formatted

    def written_since(self, start: int) -> str:
        return "".join(self._pieces)[start:]

    def ends_with(self, text: str) -> bool:
        return "".join(self._pieces[-3:]).endswith(text)

    def write(self, text: str) -> None:
        """Text in a line."""
        if text:
            self.begin_line()
            self._put(text)

    def add(self, kind: str, start: int, value: str = "") -> None:
        """Format what has been written since `start`."""
        if self.length > start:
            self._spans.append(Span(kind, start, self.length, value))

    def break_line(self, *, is_bare: bool = False) -> None:
        """A line break inside of a block; in a cell of a table a space."""
        if self.is_in_cell:
            self.write(" ")
        elif is_bare:
            self._put("\n")
        else:
            self.write("\n" + self._indent())

    def begin_block(self) -> None:
        if not self._marker:
            self._need_block()
        if self._quotes > 1:
            self._marker = (self._marker or self._indent()) + "> " * (self._quotes - 1)

    def end_block(self) -> None:
        self._need_block()

    def begin_list(self, number: int | None) -> None:
        self._need_block()
        self._lists.append(number)

    def end_list(self) -> None:
        self._lists.pop()
        self._need_block()

    def begin_item(self) -> None:
        self._need(1)
        number = self._lists[-1]
        bullet = "• "
        if number is not None:
            bullet = f"{number}. "
            self._lists[-1] = number + 1
        self._marker = self._marker + bullet if self._marker else self._indent(-1) + bullet

    def tick_item(self, *, is_done: bool) -> None:
        """A box in the place of the bullet."""
        before = self._marker.rstrip().removesuffix(self._marker.split()[-1]) if self._marker else ""
        self._marker = before + ("☑ " if is_done else "☐ ")

    def end_item(self) -> None:
        self._marker = ""
        self._need(1)

    def begin_quote(self) -> None:
        self.own_line()
        self._quotes += 1
        if self._quotes == 1:
            self._need_block()
            self._break()
            self._quote_start = self.length

    def end_quote(self) -> None:
        self._quotes -= 1
        if self._quotes == 0 and self._quote_start is not None:
            self.add("blockquote", self._quote_start)
            self._quote_start = None
        self.end_block()

    def begin_cell(self) -> None:
        """What follows is written beside the text, until the cell ends."""
        self._outside = self._pieces, self.length, self._spans
        self._pieces, self.length, self._spans = [], 0, []

    def end_cell(self) -> Formatted:
        assert self._outside is not None
        text = "".join(self._pieces).replace("\n", " ")
        cell = settled(Formatted(text, tuple(self._spans)))
        self._pieces, self.length, self._spans = self._outside
        self._outside = None
        return cell

    def block(self, formatted: Formatted) -> None:
        """Something that begins in a line of its own, at its left end, and outside of a quote."""
        self.own_line()
        self._need_block()
        quote, self._quote_start = self._quote_start, None
        if quote is not None:
            self.add("blockquote", quote)
        self._break()
        start = self.length
        self._put(formatted.text)
        self._spans += [Span(span.kind, span.start + start, span.end + start, span.value) for span in formatted.spans]
        self.end_block()
        if self._quotes:
            self._break()
            self._quote_start = self.length

    def own_line(self) -> None:
        """What follows does not stand beside a bullet."""
        if self._marker:
            self.begin_line(self._marker.rstrip())
            self._need(1)

    def begin_line(self, marker: str | None = None) -> None:
        """Write what is due before the first characters of a block: line breaks, and a bullet or indentation."""
        if self.is_in_cell or not (self._gap or self._marker):
            return
        before = self.length
        self._break()
        self._put(marker or self._marker or self._indent())
        self._marker = ""
        # Styles that opened before the line did begin with it.
        self.styles = [(kind, self.length if start >= before else start, value) for kind, start, value in self.styles]

    def _need_block(self) -> None:
        self._need(1 if self._lists else 2)

    def _need(self, breaks: int) -> None:
        """At least so many line breaks before the next block, unless it is at the beginning of a line anyway."""
        if self.length > self._line_start:
            self._gap = max(self._gap, breaks)

    def _break(self) -> None:
        if self.length and self._gap:
            self._put("\n" * self._gap)
        self._gap = 0
        self._line_start = self.length

    def _indent(self, change: int = 0) -> str:
        levels = min(len(self._lists) + change, _MAX_INDENT)
        return "    " * levels if levels > 0 else ""

    def _put(self, text: str) -> None:
        self._pieces.append(text)
        self.length += len(text)
