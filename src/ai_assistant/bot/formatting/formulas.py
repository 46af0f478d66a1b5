"""Formulas as people read them in a chat: Unicode instead of LaTeX, as far as that goes."""

import re
from typing import Any

from telegramify_markdown.latex_escape.helper import LatexToUnicodeHelper

_LATEX: Any = LatexToUnicodeHelper()
_BRACKETS = re.compile(r"\\\[((?:[^\n]|\n(?!\s*\n))+?)\\\]|\\\(([^\n]+?)\\\)")
_MARKS = re.compile(r"[\\^_{}=+<>/]")
_TEXT = re.compile(r"\]\(|://|`|\*\*|~~|\w_ | _\w")
"""Other Markdown does not stand in a formula, but between the price of one thing and the end of a regular expression."""

MAX_CHARACTERS = 2_000
"""A longer formula stays as it is: nobody writes one, and converting takes its time."""


def readable(formula: str) -> str:
    """The formula in Unicode, or as it was where something in it would be lost."""
    formula = formula.strip()
    is_broken = formula.count("{") != formula.count("}") or formula.count(r"\begin") != formula.count(r"\end")
    if is_broken or len(formula) > MAX_CHARACTERS or not re.search(r"[\\^_]", formula):
        return formula
    return str(_LATEX.convert(formula)).strip() or formula


def is_formula(between_dollars: str) -> bool:
    """Whether it is rather a formula than text between two prices or variables of a shell."""
    if _TEXT.search(between_dollars):
        return False
    return bool(_MARKS.search(between_dollars)) or len(between_dollars) <= 2


def with_dollars(text: str) -> str:
    r"""`\[...\]` and `\(...\)` as `$$...$$` and `$...$`, the only form that the parser knows. Not for code."""

    def in_dollars(match: re.Match[str]) -> str:
        block, inline = match[1], match[2]
        if block is not None:
            # Without a formula inside these are brackets that somebody escaped.
            return f"$${block}$$" if block[0].isspace() or _MARKS.search(block) else match[0]
        inline = inline.strip()
        return f"${inline}$" if inline and is_formula(inline) else match[0]

    return _BRACKETS.sub(in_dollars, text)
