"""Marks of Markdown that are none to a reader: arithmetic, names of programs, addresses, paths, regular expressions."""

import re

_NAME = re.compile(rb"__[A-Za-z]\w*__")
_ADDRESS = re.compile(rb"[a-zA-Z]+://[^\s<>()\[\]\"'`,;]*\Z")
_WORD_BEFORE = re.compile(rb"\S*\Z")
_WORD_AFTER = re.compile(rb"\S*")
_PATH = re.compile(rb"(?:[^\\]|\\[^A-Za-z0-9])*\\[A-Za-z0-9]")
_REACH = 120
"""Bytes around a mark that are looked at."""


def is_literal(source: bytes, start: int, end: int) -> bool:
    """Whether emphasis from `start` to `end` is rather 2*3*4, `__init__` or a part of an address."""
    before, after = _letter_before(source, start), _letter_after(source, end)
    if before.isalnum() and after.isalnum():
        mark = 2 if source[start + 1 : start + 2] == source[start : start + 1] else 1
        return mark == 1 or not source[start + mark : end - mark].decode().isalpha()
    if source[start : start + 2] == b"__" and _NAME.fullmatch(source, start, end):
        return True
    return _ADDRESS.search(source, max(start - _REACH, 0), start) is not None


def keeps_backslash(source: bytes, at: int) -> bool:
    r"""Whether the backslash at `at` is one of C:\new\*.txt or \d+\. and not an escape."""
    before = _WORD_BEFORE.search(source, max(at - _REACH, 0), at)
    after = _WORD_AFTER.match(source, at, at + _REACH)
    word = (before[0] if before else b"") + (after[0] if after else b"")
    return _PATH.match(word) is not None


def _letter_before(source: bytes, at: int) -> str:
    return source[max(at - 4, 0) : at].decode(errors="ignore")[-1:]


def _letter_after(source: bytes, at: int) -> str:
    return source[at : at + 4].decode(errors="ignore")[:1]
