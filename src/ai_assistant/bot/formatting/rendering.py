"""From Markdown to one formatted text; long code on the way becomes snippets."""

from typing import Any

from telegramify_markdown.entity import utf16_len

from ai_assistant.bot.formatting.addresses import web_address
from ai_assistant.bot.formatting.formulas import is_formula, readable
from ai_assistant.bot.formatting.literal import is_literal, keeps_backslash
from ai_assistant.bot.formatting.snippet import MAX_UNITS, Snippet, language_of, remark_of, snippet
from ai_assistant.bot.formatting.source import cleaned, parsed, spoilers
from ai_assistant.bot.formatting.spans import Formatted, Span
from ai_assistant.bot.formatting.tables import Row, table
from ai_assistant.bot.formatting.writer import Writer

_INLINE = {"Strong": "bold", "Emphasis": "italic", "Strikethrough": "strikethrough"}
_BREAKS = {"<br>", "<br/>", "<br />"}
_RULE = "———"
_LITERAL = "literal"


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
    """What the parser sees, one event after the other, into the text."""

    def __init__(self, source: bytes, *, with_snippets: bool) -> None:
        self.results: list[Formatted | Snippet] = []
        self._writer = Writer()
        self._source = source
        self._with_snippets = with_snippets
        self._filenames: set[str] = set()
        self._addresses: set[str] = set()
        self._titles: list[str] = []
        """Of the links that are open: what other screens show when a mouse is over them."""
        self._depth = 0
        self._read = 0
        """The end of the last block at the top: between blocks stand the definitions of links."""
        self._text_end = 0
        self._spoiler: int | None = None
        self._code: list[str] | None = None
        self._code_info = ""
        self._setext = b""
        self._is_html_line_over = False
        self._rows: list[Row] = []
        self._row_end = self._cell_end = 0
        self._alignments: tuple[str, ...] = ()

    def take(self, event: Any, start: int, end: int, marks: list[int] | None) -> None:
        if isinstance(event, str):
            self._take_break(event, start, end)
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
            self._text(content, start, end, marks)
        elif name == "Code":
            self._writer.begin_line()
            begin = self._writer.length
            self._writer.write(content)
            self._writer.add("code", begin)
        elif name in ("InlineMath", "DisplayMath"):
            self._formula(content, start, end, is_block=name == "DisplayMath")
        elif name == "TaskListMarker":
            self._writer.tick_item(is_done=content)
        elif content.strip().lower() in _BREAKS:
            self._writer.break_line()
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
            self._writer.begin_block()
            self._writer.write("\n".join(left))
            self._writer.end_block()

    def finish_text(self) -> None:
        """Close the text that is being written; what follows begins another one."""
        if text := self._writer.finished():
            self.results.append(text)

    def _start(self, tag: Any, start: int, end: int) -> None:
        writer = self._writer
        if isinstance(tag, str):
            if tag in _INLINE:
                self._start_style(tag, start, end)
            elif tag == "Item":
                writer.begin_item()
            elif tag in ("TableHead", "TableRow"):
                self._rows.append([])
                self._row_end = end
            elif tag == "TableCell":
                self._cell_end = end
                writer.begin_cell()
            elif tag in ("Paragraph", "HtmlBlock"):
                writer.begin_block()
                self._is_html_line_over = False
            return
        ((name, content),) = tag.items()
        if name == "Heading":
            writer.begin_block()
            lines = self._source[start:end].rstrip().rsplit(b"\n", 1)
            is_underlined = not lines[0].lstrip().startswith(b"#") or lines[0].lstrip().startswith(b"#######")
            # Models write `---` right under a paragraph and mean a line; and a list that begins with `-` must not flash.
            self._setext = lines[-1].strip(b" \t>") if is_underlined and content["level"] == "H2" else b""
            writer.styles.append(("" if self._setext else "bold", writer.length, ""))
        elif name == "List":
            writer.begin_list(content)
        elif name == "BlockQuote":
            writer.begin_quote()
        elif name == "CodeBlock":
            self._code, self._code_info = [], content["Fenced"] if isinstance(content, dict) else ""
        elif name == "Table":
            self._rows, self._alignments = [], content
        elif name in ("Link", "Image"):
            self._titles.append(content["title"])
            writer.styles.append((name, writer.length, content["dest_url"]))

    def _start_style(self, tag: str, start: int, end: int) -> None:
        mark = self._source[start : start + 1].decode() * (1 if tag == "Emphasis" else 2)
        # One tilde means "about", as in ~5.
        is_about = tag == "Strikethrough" and self._source[start + 1 : start + 2] != b"~"
        if is_about or (tag != "Strikethrough" and is_literal(self._source, start, end)):
            mark = "~" if is_about else mark
            self._writer.write(mark)
            self._writer.styles.append((_LITERAL, self._writer.length, mark))
        else:
            self._writer.styles.append((_INLINE[tag], self._writer.length, ""))

    def _end(self, tag: Any) -> None:
        name = tag if isinstance(tag, str) else next(iter(tag))
        writer = self._writer
        if name in _INLINE or name in ("Link", "Image"):
            self._close()
        elif name == "Heading":
            self._close()
            writer.end_block()
            if len(self._setext) >= 3:
                self._rule()
            self._setext = b""
        elif name in ("Paragraph", "HtmlBlock"):
            writer.end_block()
        elif name == "Item":
            writer.end_item()
        elif name == "List":
            writer.end_list()
        elif name == "BlockQuote":
            writer.end_quote()
        elif name == "CodeBlock":
            self._end_code()
        elif name == "TableCell":
            self._rows[-1].append(writer.end_cell())
        elif name == "TableRow":
            # The parser drops cells beyond the columns of the header.
            left = self._source[self._cell_end : self._row_end].decode().strip().strip("|")
            self._rows[-1] += [Formatted(cell.strip()) for cell in left.split("|") if cell.strip()]
        elif name == "Table":
            formatted = table(self._rows, self._alignments)
            if formatted.text.strip():
                writer.block(formatted)

    def _take_break(self, event: str, start: int, end: int) -> None:
        if event == "Rule":
            if self._depth == 0:
                self.take_definitions(start)
                self._read = end
            self._rule()
            return
        if self._source[start : start + 1] == b"\\" and keeps_backslash(self._source, start):
            self._writer.write("\\")
        self._writer.break_line()

    def _text(self, text: str, start: int, end: int, marks: list[int] | None) -> None:
        if self._code is not None:
            self._code.append(text)
            return
        is_escaped = start > self._text_end and self._source[start - 1 : start] == b"\\"
        self._text_end = end
        if is_escaped and keeps_backslash(self._source, start - 1):
            self._writer.write("\\")
        at = 0
        for mark in marks or ():
            self._writer.write(text[at:mark])
            at = mark + 2
            if self._spoiler is None:
                self._writer.begin_line()
                self._spoiler = self._writer.length
            else:
                self._writer.add("spoiler", self._spoiler)
                self._spoiler = None
        self._writer.write(text[at:])

    def _formula(self, formula: str, start: int, end: int, *, is_block: bool) -> None:
        literal = self._source[start:end].decode()
        if is_block:
            text = readable(formula)
            self._writer.write(" ".join(text.split()) if self._writer.is_in_cell else text)
        elif self._source[end : end + 1].isalnum() or not is_formula(formula):
            self._writer.write(literal)
        else:
            self._writer.write(readable(formula))

    def _html(self, html: str, *, is_block: bool) -> None:
        if is_block and self._is_html_line_over:
            self._writer.break_line(is_bare=True)
        self._writer.write(html.rstrip("\n") if is_block else html)
        self._is_html_line_over = html.endswith("\n")

    def _rule(self) -> None:
        self._writer.begin_block()
        self._writer.write(_RULE)
        self._writer.end_block()

    def _end_code(self) -> None:
        code, self._code = "".join(self._code or ()).strip("\n"), None
        file = None
        if self._with_snippets and utf16_len(code) > MAX_UNITS:
            file = snippet(self._code_info, code, self._filenames)
        remark = remark_of(self._code_info, code)
        if file and remark.endswith(file.filename):
            remark = ""
        named = f"📄 {file.filename}" if file else ""
        if lines := "\n".join(filter(None, (remark, named))):
            self._writer.own_line()
            self._writer.begin_block()
            self._writer.write(lines)
            self._writer.end_block()
        if file:
            self.finish_text()
            self.results.append(file)
        elif code.strip():
            language = "" if remark == self._code_info.strip() else language_of(self._code_info)
            self._writer.block(Formatted(code, (Span("pre", 0, len(code), language),)))

    def _close(self) -> None:
        kind, start, value = self._writer.styles.pop()
        if kind in ("Link", "Image"):
            self._close_link(kind, start, value)
        elif kind == _LITERAL:
            self._writer.write(value)
        elif kind and all(kind != other for other, _, _ in self._writer.styles):
            self._writer.add(kind, start)

    def _close_link(self, kind: str, start: int, address: str) -> None:
        writer = self._writer
        is_inside = any(other in ("Link", "Image") for other, _, _ in writer.styles)
        address = "".join(address.split())
        if writer.length == start or (kind == "Image" and not writer.written_since(start).strip()):
            writer.write(address)
        url = web_address(address)
        if url and not is_inside:
            self._addresses.add(address)
            writer.add("text_link", start, url)
        elif not url and address and not address.startswith("#") and not writer.ends_with(address):
            writer.write(f" ({address})")
        title = self._titles.pop()
        if title and title not in writer.written_since(start):
            writer.write(f" ({title})")
