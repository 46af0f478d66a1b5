"""From Markdown to one formatted text; long code on the way becomes snippets."""

from typing import Any

from telegramify_markdown.entity import utf16_len

from ai_assistant.bot.formatting.addresses import web_address
from ai_assistant.bot.formatting.formulas import is_formula, readable
from ai_assistant.bot.formatting.snippet import MAX_UNITS, Snippet, language_of, snippet
from ai_assistant.bot.formatting.source import cleaned, parsed, spoilers
from ai_assistant.bot.formatting.spans import Formatted, Span, settled
from ai_assistant.bot.formatting.tables import Row, table

_INLINE = {"Strong": "bold", "Emphasis": "italic", "Strikethrough": "strikethrough"}
_BREAKS = {"<br>", "<br/>", "<br />"}
_RULE = "———"
_MAX_INDENT = 6
"""Levels of lists; deeper ones are no further to the right, or the screen ends."""


def render(markdown: str, *, with_snippets: bool = True) -> list[Formatted | Snippet]:
    """Texts of any length and the snippets between them, in order. Without snippets it is one text, or none."""
    source, events = parsed(cleaned(markdown))
    renderer = _Renderer(source, with_snippets=with_snippets)
    marks = spoilers(events) if b"||" in source else {}
    for index, (event, place) in enumerate(events):
        renderer.take(event, place["start"], place["end"], marks.get(index))
    renderer.take_definitions(len(source))
    renderer.finish_text()
    return renderer.results


class _Renderer:
    """What has been written so far, and in what it stands."""

    def __init__(self, source: bytes, *, with_snippets: bool) -> None:
        self.results: list[Formatted | Snippet] = []
        self._source = source
        self._with_snippets = with_snippets
        self._filenames: set[str] = set()
        self._addresses: set[str] = set()
        self._depth = 0
        self._read = 0
        """The end of the last block at the top: between blocks stand the definitions of links."""
        self._pieces: list[str] = []
        self._length = 0
        self._line_start = 0
        self._spans: list[Span] = []
        self._gap = 0
        """Line breaks that are due before the next block."""
        self._marker = ""
        """The bullet of an item of which nothing is written yet."""
        self._lists: list[int | None] = []
        self._quotes = 0
        self._quote_start: int | None = None
        self._open: list[tuple[str, int, str]] = []
        self._spoiler: int | None = None
        self._code: list[str] | None = None
        self._code_info = ""
        self._setext = b""
        self._is_html_line_over = False
        self._rows: list[Row] = []
        self._row_end = self._cell_end = 0
        self._alignments: tuple[str, ...] = ()
        self._outside: tuple[list[str], int, list[Span]] | None = None
        """The text around the table whose cell is being written."""

    def take(self, event: Any, start: int, end: int, marks: list[int] | None) -> None:
        if isinstance(event, str):
            if event == "Rule" and self._depth == 0:
                self.take_definitions(start)
                self._read = end
            self._take_break(event)
            return
        ((name, content),) = event.items()
        if name == "Start":
            if self._depth == 0:
                self.take_definitions(start)
                self._read = end
            self._depth += 1
            self._start(content, start, end)
        elif name == "End":
            self._depth -= 1
            self._end(content)
        elif name == "Text":
            self._text(content, marks)
        elif name == "Code":
            self._leaf("code", content)
        elif name in ("InlineMath", "DisplayMath"):
            self._formula(content, start, end, is_block=name == "DisplayMath")
        elif name == "TaskListMarker":
            before = self._marker.rstrip().removesuffix(self._marker.split()[-1]) if self._marker else ""
            self._marker = before + ("☑ " if content else "☐ ")
        elif content.strip().lower() in _BREAKS:
            self._take_break("HardBreak")
        else:  # HTML, in a block or in a line: the reader sees what the model wrote
            self._html(content, is_block=name == "Html")

    def take_definitions(self, until: int) -> None:
        """Addresses that the text refers to are shown where no link has them: models list their sources like that."""
        between = self._source[self._read : until].decode().strip() if self._read < until else ""
        self._read = max(self._read, until)
        if not between.startswith("["):
            return
        definitions = ["[" + line.strip() for line in ("\n" + between).split("\n[")[1:]]
        left = [line for line in definitions if line.partition("]:")[2].strip(" \t\n<").rstrip(">") not in self._addresses]
        if left:
            self._begin_block()
            self._write("\n".join(left))
            self._end_block()

    def finish_text(self) -> None:
        """Close the text that is being written; what follows begins another one."""
        if self._quote_start is not None:
            self._add("blockquote", self._quote_start)
            self._quote_start = 0
        text = "".join(self._pieces)
        if text.strip():
            self.results.append(settled(Formatted(text, tuple(self._spans))))
        self._pieces, self._length, self._spans, self._gap, self._line_start = [], 0, [], 0, 0

    def _start(self, tag: Any, start: int, end: int) -> None:
        if isinstance(tag, str):
            if tag in _INLINE:
                # One tilde means "about", as in ~5.
                if tag == "Strikethrough" and self._source[start + 1 : start + 2] != b"~":
                    self._write("~")
                    self._open.append(("~", self._length, ""))
                else:
                    self._open.append((_INLINE[tag], self._length, ""))
            elif tag == "Item":
                self._begin_item()
            elif tag in ("TableHead", "TableRow"):
                self._rows.append([])
                self._row_end = end
            elif tag == "TableCell":
                self._cell_end = end
                self._outside = self._pieces, self._length, self._spans
                self._pieces, self._length, self._spans = [], 0, []
            elif tag in ("Paragraph", "HtmlBlock"):
                self._begin_block()
                self._is_html_line_over = False
            return
        ((name, content),) = tag.items()
        if name == "Heading":
            self._begin_block()
            lines = self._source[start:end].rstrip().rsplit(b"\n", 1)
            is_underlined = not lines[0].lstrip().startswith(b"#") or lines[0].lstrip().startswith(b"#######")
            # Models write `---` right under a paragraph and mean a line; and a list that begins with `-` must not flash.
            self._setext = lines[-1].strip(b" \t>") if is_underlined and content["level"] == "H2" else b""
            self._open.append(("" if self._setext else "bold", self._length, ""))
        elif name == "List":
            self._need(1 if self._lists else 2)
            self._lists.append(content)
        elif name == "BlockQuote":
            self._begin_quote()
        elif name == "CodeBlock":
            self._code, self._code_info = [], content["Fenced"] if isinstance(content, dict) else ""
        elif name == "Table":
            self._rows, self._alignments = [], content
        elif name in ("Link", "Image"):
            self._open.append((name, self._length, content["dest_url"]))

    def _end(self, tag: Any) -> None:
        name = tag if isinstance(tag, str) else next(iter(tag))
        if name in _INLINE or name in ("Link", "Image"):
            self._close()
        elif name == "Heading":
            self._close()
            self._end_block()
            if len(self._setext) >= 3:
                self._rule()
            self._setext = b""
        elif name in ("Paragraph", "HtmlBlock"):
            self._end_block()
        elif name == "Item":
            self._marker = ""
            self._need(1)
        elif name == "List":
            self._lists.pop()
            self._need(1 if self._lists else 2)
        elif name == "BlockQuote":
            self._end_quote()
        elif name == "CodeBlock":
            self._end_code()
        elif name == "TableCell":
            self._end_cell()
        elif name == "TableRow":
            # The parser drops cells beyond the columns of the header.
            left = self._source[self._cell_end : self._row_end].decode().strip().strip("|")
            self._rows[-1] += [Formatted(cell.strip()) for cell in left.split("|") if cell.strip()]
        elif name == "Table":
            self._end_table()

    def _take_break(self, event: str) -> None:
        if self._outside is not None:
            self._write(" ")
        elif event == "Rule":
            self._rule()
        else:
            self._write("\n" + self._indent())

    def _text(self, text: str, marks: list[int] | None) -> None:
        if self._code is not None:
            self._code.append(text)
            return
        end = 0
        for mark in marks or ():
            self._write(text[end:mark])
            end = mark + 2
            if self._spoiler is None:
                self._begin_line()
                self._spoiler = self._length
            else:
                self._add("spoiler", self._spoiler)
                self._spoiler = None
        self._write(text[end:])

    def _leaf(self, kind: str, text: str) -> None:
        self._begin_line()
        start = self._length
        self._write(text)
        self._add(kind, start)

    def _formula(self, formula: str, start: int, end: int, *, is_block: bool) -> None:
        literal = self._source[start:end].decode()
        if is_block:
            text = readable(formula)
            self._write(text if self._outside is None else " ".join(text.split()))
        elif self._source[end : end + 1].isalnum() or not is_formula(formula):
            self._write(literal)
        else:
            self._write(readable(formula))

    def _html(self, html: str, *, is_block: bool) -> None:
        if is_block and self._is_html_line_over:
            self._put("\n")
        self._write(html.rstrip("\n") if is_block else html)
        self._is_html_line_over = html.endswith("\n")

    def _rule(self) -> None:
        self._begin_block()
        self._write(_RULE)
        self._end_block()

    def _begin_item(self) -> None:
        self._need(1)
        number = self._lists[-1]
        bullet = "• "
        if number is not None:
            bullet = f"{number}. "
            self._lists[-1] = number + 1
        self._marker = self._marker + bullet if self._marker else self._indent(-1) + bullet

    def _begin_block(self) -> None:
        if not self._marker:
            self._need(1 if self._lists else 2)
        if self._quotes > 1:
            self._marker = (self._marker or self._indent()) + "> " * (self._quotes - 1)

    def _end_block(self) -> None:
        self._need(1 if self._lists else 2)

    def _begin_quote(self) -> None:
        self._own_line()
        self._quotes += 1
        if self._quotes == 1:
            self._need(1 if self._lists else 2)
            self._break()
            self._quote_start = self._length

    def _end_quote(self) -> None:
        self._quotes -= 1
        if self._quotes == 0 and self._quote_start is not None:
            self._add("blockquote", self._quote_start)
            self._quote_start = None
        self._end_block()

    def _end_code(self) -> None:
        code, self._code = "".join(self._code or ()).strip("\n"), None
        if self._with_snippets and utf16_len(code) > MAX_UNITS:
            file = snippet(self._code_info, code, self._filenames)
            self._own_line()
            self._begin_block()
            self._write(f"📄 {file.filename}")
            self.finish_text()
            self.results.append(file)
        elif code.strip():
            self._block(Formatted(code, (Span("pre", 0, len(code), language_of(self._code_info)),)))

    def _end_cell(self) -> None:
        assert self._outside is not None
        text = "".join(self._pieces).replace("\n", " ")
        self._rows[-1].append(settled(Formatted(text, tuple(self._spans))))
        self._pieces, self._length, self._spans = self._outside
        self._outside = None

    def _end_table(self) -> None:
        formatted = table(self._rows, self._alignments)
        if formatted.text.strip():
            self._block(formatted)

    def _block(self, formatted: Formatted) -> None:
        """Something that begins in a line of its own, at its left end, and outside of a quote."""
        self._own_line()
        self._need(1 if self._lists else 2)
        quote, self._quote_start = self._quote_start, None
        if quote is not None:
            self._add("blockquote", quote)
        self._break()
        start = self._length
        self._put(formatted.text)
        self._spans += [Span(span.kind, span.start + start, span.end + start, span.value) for span in formatted.spans]
        self._end_block()
        if self._quotes:
            self._break()
            self._quote_start = self._length

    def _own_line(self) -> None:
        """What follows does not stand beside a bullet."""
        if self._marker:
            marker = self._marker.rstrip()
            self._begin_line(marker)
            self._need(1)

    def _write(self, text: str) -> None:
        if text:
            self._begin_line()
            self._put(text)

    def _begin_line(self, marker: str | None = None) -> None:
        """Write what is due before the first characters of a block: line breaks, and a bullet or indentation."""
        if self._outside is not None or not (self._gap or self._marker):
            return
        before = self._length
        self._break()
        self._put(marker or self._marker or self._indent())
        self._marker = ""
        # Styles that opened before the line did begin with it.
        self._open = [(kind, self._length if start >= before else start, value) for kind, start, value in self._open]

    def _need(self, breaks: int) -> None:
        """At least so many line breaks before the next block, unless it is at the beginning of a line anyway."""
        if self._length > self._line_start:
            self._gap = max(self._gap, breaks)

    def _break(self) -> None:
        if self._length and self._gap:
            self._put("\n" * self._gap)
        self._gap = 0
        self._line_start = self._length

    def _indent(self, change: int = 0) -> str:
        levels = min(len(self._lists) + change, _MAX_INDENT)
        return "    " * levels if levels > 0 else ""

    def _put(self, text: str) -> None:
        self._pieces.append(text)
        self._length += len(text)

    def _add(self, kind: str, start: int, value: str = "") -> None:
        if self._length > start:
            self._spans.append(Span(kind, start, self._length, value))

    def _close(self) -> None:
        kind, start, value = self._open.pop()
        if kind in ("Link", "Image"):
            self._close_link(kind, start, value)
        elif kind == "~":
            self._write("~")
        elif kind and all(kind != other for other, _, _ in self._open):
            self._add(kind, start)

    def _close_link(self, kind: str, start: int, address: str) -> None:
        is_inside = any(other in ("Link", "Image") for other, _, _ in self._open)
        address = "".join(address.split())
        if self._length == start or (kind == "Image" and not "".join(self._pieces)[start:].strip()):
            self._write(address)
        url = web_address(address)
        if url and not is_inside:
            self._addresses.add(address)
            self._add("text_link", start, url)
        elif not url and address and not address.startswith("#") and not self._ends_with(address):
            self._write(f" ({address})")

    def _ends_with(self, text: str) -> bool:
        return "".join(self._pieces[-3:]).endswith(text)
