"""Answers that are written from what they shall show, so that no parser is needed to know it; and the same answers damaged."""

import random
import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import unquote

from ai_assistant.bot.formatting.parts import DocumentPart, Part, TextPart
from ai_assistant.bot.formatting.preview import preview

PLAIN = """Модель отвечает быстро и хорошо это простой ответ ещё подъезд ёлка GPU CPU HTTP ANSWER THE QUICK שלום עולם مرحبا
بالعالم 数据 日本語 한국어 ÀÉÎ Łódź İstanbul Ελλάδα नमस्ते ไทย é̂ n̈"""
LOWER = "the model answers quickly and well straße 42 3.14 user@example.com it's R2D2"
EMOJI = "👍 👨‍👩‍👧‍👦 🇷🇺🇩🇪 👩🏽‍💻 🧑‍🚀 1️⃣ ❤️ ✅ ☕"
ODD = """«ёлочки» — … 2*3*4 a*b*c x**2+y**2 snake_case_name __init__ __name__ C:\\dir\\new_file\\*.txt ^\\d+\\.(\\w*) ~5 ~10 $5
$HOME R&D C++ a<b x>y && [сноска] [1] #tag @user (скобки) 50% "quoted" f(x) {фигурные} a=b ? <think> <b> </b> https://example.com/_a_/b_c?d=*e*&f"""
ESCAPED = "*_#`~|<>&!$-+.[{"
MIDDLE = "абвгдЖЩЫЭabcXYZ0189数据שםمر👍é,;!?—«»\"'()%@/=^"
CODE = [
    "def f(x):\n    return x ** 2",
    "SELECT * FROM t; -- | a | b |",
    "<a href='#'>`x`</a> &amp; \\( x \\) $y$",
    "# comment\n\n\techo $HOME | grep '||'",
    "λ = 1 # 👍 [a](b)",
    "```py\nnested\n```",
    "~~~\n> - 1. **x**",
]
STYLES = {"bold", "italic", "strikethrough", "spoiler", "code"}
MARKUP = "*_`~|[]()#>-!\\$<&"


@dataclass(frozen=True)
class Written:
    """Markdown, and each text that it may be shown as (a wide table is a list)."""

    markdown: str
    shown: tuple[str, ...]


class Author:
    """Writes blocks of random content; in `simple` ones, which can be damaged, only small ASCII letters and digits are hidden."""

    def __init__(self, source: random.Random, *, simple: bool) -> None:
        self.random = source
        self.simple = simple
        self.plain = PLAIN.split() if simple else PLAIN.split() + LOWER.split()
        self.specials = EMOJI.split() + (["«ёлочки»", "—", "…"] if simple else ODD.split())

    def answer(self) -> tuple[str, list[tuple[str, ...]]]:
        blocks: list[Written] = []
        for _ in range(self.random.randint(1, 7)):
            block = self.block()
            # Two lists one after the other are one for Markdown, and the second is numbered on.
            blocks += [self.paragraph()] if blocks and is_list(blocks[-1]) and is_list(block) else []
            blocks.append(block)
        if self.random.random() < 0.03:
            blocks += [self.paragraph(200), self.paragraph(600)]
        return "\n\n".join(block.markdown for block in blocks), [block.shown for block in blocks]

    def block(self) -> Written:
        kinds = [self.paragraph] * 4 + [
            self.heading,
            self.list,
            self.list,
            self.quote,
            self.code,
            self.code,
            self.table,
            self.rule,
        ]
        return self.random.choice(kinds)()

    def paragraph(self, most: int = 12) -> Written:
        pieces = [self.word()] + [self.inline() for _ in range(self.random.randint(0, most))]
        markdown = pieces[0].markdown
        for piece in pieces[1:]:
            # A line begins with a word: other things could begin a block there.
            if self.random.random() < 0.1:
                # After a path a backslash is more likely the end of the path.
                breaks = ["\n", "  \n"] if "\\" in markdown.split()[-1] else ["\n", "  \n", "\\\n"]
                markdown += self.random.choice(breaks) + self.plain[0]
            markdown += " " + piece.markdown
        return Written(markdown, (visible(shown_words(markdown, pieces, self.plain[0])),))

    def heading(self) -> Written:
        piece, word = self.inline(), self.word()
        return Written(f"{'#' * self.random.randint(1, 6)} {word.markdown} {piece.markdown}", (word.shown[0] + piece.shown[0],))

    def list(self, level: int = 0) -> Written:
        first = self.random.choice([None, None, 1, 7])
        lines, shown = [], ""
        for number in range(self.random.randint(1, 4)):
            mark = "-" if first is None else f"{first + number}."
            piece, word = self.inline(), self.word()
            box = self.random.choice(["", "", "", "[ ] ", "[x] "])
            bullet = {"": "•" if first is None else mark, "[ ] ": "☐", "[x] ": "☑"}[box]
            lines.append(f"{mark} {box}{word.markdown} {piece.markdown}")
            shown += bullet + word.shown[0] + piece.shown[0]
            if level < 2 and self.random.random() < 0.25:
                inner = self.random.choice([self.code, self.paragraph, lambda: self.list(level + 1)])()
                lines.append("\n" + indented(inner.markdown, " " * (len(mark) + 1)) + "\n")
                shown += inner.shown[0]
        return Written("\n".join(lines).strip("\n"), (shown,))

    def quote(self) -> Written:
        inner = self.random.choice([self.paragraph, self.paragraph, self.list, self.code])()
        return Written("> " + inner.markdown.replace("\n", "\n> "), inner.shown)

    def code(self) -> Written:
        many = 200 if self.random.random() < 0.03 else self.random.randint(1, 4)
        lines = [self.random.choice(CODE) for _ in range(many)]
        if self.simple:
            lines = ["ДЛЯ X В СПИСКЕ:\n    ПЕЧАТЬ(X)", "ЕСЛИ «ДА» — 👍", "数据 = שלום"][: self.random.randint(1, 3)]
        fence = self.random.choice(["````", "````", "~~~~"])
        language = self.random.choice(["", "python", "sql", "c++"])
        return Written(f"{fence}{language}\n" + "\n".join(lines) + f"\n{fence}", (visible("\n".join(lines)),))

    def table(self) -> Written:
        columns, rows = self.random.randint(1, 4), self.random.randint(1, 4)
        header = [Written("ab", ("ab",)) if self.simple else self.cell() for _ in range(columns)]
        body = [[self.cell() for _ in range(columns)] for _ in range(rows)]
        lines = ["| " + " | ".join(cell.markdown for cell in row) + " |" for row in [header, *body]]
        lines.insert(1, "|" + "".join(self.random.choice(["---|", ":-:|", "--:|"]) for _ in range(columns)))
        aligned = "".join(cell.shown[0] for row in [header, *body] for cell in row)
        listed = "".join(f"{name.shown[0]}:{cell.shown[0]}" for row in body for name, cell in zip(header, row, strict=True))
        return Written("\n".join(lines), (aligned, listed))

    def rule(self) -> Written:
        return Written(self.random.choice(["---", "***", "___"]), ("———",))

    def cell(self) -> Written:
        pieces = [self.styled() if self.random.random() < 0.3 else self.word() for _ in range(self.random.choice([1, 1, 2, 6]))]
        return Written(" ".join(p.markdown for p in pieces), ("".join(p.shown[0] for p in pieces),))

    def inline(self) -> Written:
        kind = self.random.randint(0, 12)
        if kind < 4:
            return self.word()
        if kind < 6:
            return self.styled()
        if kind == 6:
            return self.link()
        if kind == 7:
            code = self.random.choice(
                ["КОД", "X = Y"] if self.simple else ["x_y_z", "**not**", "a || b", "<br>", "\\(x\\)", "&amp;"]
            )
            return Written(f"`{code}`", (visible(code),))
        if kind == 8 and not self.simple:
            return self.random.choice(
                [Written("&lt;", ("<",)), Written("&amp;", ("&",)), Written("<br>", ("",)), Written("5 > 3", ("5>3",))]
            )
        if kind < 11:
            word = self.random.choice(self.specials)
            return Written(word, (visible(word),))
        return self.random_word()

    def word(self) -> Written:
        word = self.random.choice(self.plain)
        return Written(word, (visible(word),))

    def random_word(self) -> Written:
        """Any letters, with escapes among them."""
        markdown = shown = self.random.choice(self.plain)
        if self.simple:
            return Written(markdown, (visible(shown),))
        for _ in range(self.random.randint(1, 12)):
            letter = self.random.choice(ESCAPED if self.random.random() < 0.2 else MIDDLE)
            markdown += "\\" + letter if letter in ESCAPED else letter
            shown += letter
        return Written(markdown, (visible(shown),))

    def styled(self) -> Written:
        words = [self.word() for _ in range(self.random.randint(1, 4))]
        inside = " ".join(word.markdown for word in words)
        mark = self.random.choice(["**", "*", "_", "~~", "***"])
        if mark == "**" and self.random.random() < 0.3:
            inside = f"{inside} *{inside}* `{inside}`"
            return Written(f"**{inside}**", ("".join(word.shown[0] for word in words) * 3,))
        return Written(f"{mark}{inside}{mark}", ("".join(word.shown[0] for word in words),))

    def link(self) -> Written:
        text = self.word()
        address = f"https://example.com/{self.random.randint(1, 99)}/a_b_c"
        kinds = [Written(f"[{text.markdown}]({address})", text.shown), Written(f"![{text.markdown}]({address})", text.shown)]
        if not self.simple:
            kinds += [
                Written(f'[**{text.markdown}**]({address} "title")', (text.shown[0] + "(title)",)),
                Written(f"[{text.markdown}](./rel.md)", (text.shown[0] + "(./rel.md)",)),
                Written(f"<{address}>", (address,)),
                Written(address, (address,)),
            ]
        return self.random.choice(kinds)


def is_list(block: Written) -> bool:
    return re.match(r"(-|\d+\.) ", block.markdown) is not None


def shown_words(markdown: str, pieces: list[Written], line_word: str) -> str:
    """The pieces, and the word that begins every further line."""
    shown = pieces[0].shown[0]
    rest = markdown[len(pieces[0].markdown) :]
    for piece in pieces[1:]:
        at = rest.index(" " + piece.markdown, rest.index(line_word) if re.match(r"(  |\\)?\n", rest) else 0)
        shown += line_word if "\n" in rest[:at] else ""
        shown += piece.shown[0]
        rest = rest[at + 1 + len(piece.markdown) :]
    return shown


def indented(text: str, by: str) -> str:
    return "\n".join(by + line if line else line for line in text.split("\n"))


def visible(text: str) -> str:
    """Without white space, and without what tables are drawn with."""
    return "".join(letter for letter in text if not letter.isspace() and letter not in "│─┼")


def everything(parts: list[Part], *, with_hidden: bool = False) -> str:
    """All that a reader gets, in order; the name that stands in the text for a file is left out."""
    text = ""
    for part in parts:
        if isinstance(part, DocumentPart):
            text = re.sub(r"📄 \S+\n\Z", "", text)
            text += (part.caption if with_hidden else "") + part.text + "\n"
            continue
        letters = part.text.encode("utf-16-le")
        at = 0
        for entity in part.entities if with_hidden else ():
            # Telegram shows the language above the code, and the address of a link where it is touched.
            place = 2 * entity["offset"] if entity["type"] == "pre" else 2 * (entity["offset"] + entity["length"])
            if hidden := entity.get("language") or unquote(entity.get("url", "")):
                text += letters[at:place].decode("utf-16-le") + hidden
                at = max(at, place)
        text += letters[at:].decode("utf-16-le") + "\n"
    return text


def lost(parts: list[Part], blocks: list[tuple[str, ...]]) -> str:
    """Where the messages first show something else than was written; empty if they show exactly that."""
    shown = visible(everything(parts))
    for block in blocks:
        found = next((text for text in block if shown.startswith(text)), None)
        if found is None:
            at = agreeing(block[-1], shown)
            return f"written {block[-1][at : at + 40]!r}, shown {shown[at : at + 40]!r}, after {shown[max(at - 40, 0) : at]!r}"
        shown = shown[len(found) :]
    return f"added {shown!r}" if shown else ""


def agreeing(first: str, second: str) -> int:
    """How many letters at the beginning are the same."""
    return next(
        (at for at, (one, other) in enumerate(zip(first, second, strict=False)) if one != other), min(len(first), len(second))
    )


def damaged(markdown: str, source: random.Random) -> str:
    """The same with a few marks taken out, doubled or put where they do not belong."""
    letters = list(markdown)
    for _ in range(source.randint(1, 6)):
        at = source.randrange(len(letters))
        marks = [index for index, letter in enumerate(letters) if letter in MARKUP]
        if marks and source.random() < 0.6:
            at = source.choice(marks)
            letters[at] = source.choice(["", letters[at] * 2])
        else:
            letters.insert(at, source.choice(MARKUP) * source.choice([1, 1, 2, 3]))
    return "".join(letters)


def substance(text: str) -> str:
    """What is neither a mark, nor white space, nor could be hidden: addresses, languages, numbers. Accents count alone."""
    text = re.sub("[•☐☑│─┼📄]", "", unicodedata.normalize("NFKD", re.sub("———", "", text)))
    return "".join(letter for letter in text if not letter.isspace() and (letter > "\x7f" or letter.isupper()))


def taken_back(markdown: str) -> list[str]:
    """Where the preview of one more character shows less than the one before; finished styles count outside of tables."""
    found = []
    before = TextPart("")
    for end in range(1, len(markdown) + 1):
        now = preview(markdown[:end])
        letters = iter(substance(now.text))
        if not all(letter in letters for letter in substance(before.text)):
            found.append(f"text: {markdown[max(end - 60, 0) : end]!r}")
        if "\n|" not in markdown[:end] and not markdown.startswith("|"):
            found += [f"{style}: {markdown[max(end - 60, 0) : end]!r}" for style in finished(before) - finished(now)]
        before = now
    return found


def finished(part: TextPart) -> set[tuple[str, str]]:
    """The styles that end before the end of the text, with all of the text before their end."""
    letters = part.text.encode("utf-16-le")
    ends = ((entity, 2 * (entity["offset"] + entity["length"])) for entity in part.entities if entity["type"] in STYLES)
    return {
        (f"{entity['type']} {entity['offset']}", letters[:end].decode("utf-16-le")) for entity, end in ends if end < len(letters)
    }
