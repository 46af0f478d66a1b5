"""What is to happen to the rows of a model runner, in the order in which it was decided."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias


class Swap(NamedTuple):
    """Exchange two rows, of which the longer holds `length` tokens."""

    first: int
    second: int
    length: int


class Copy(NamedTuple):
    """Copy the first `length` tokens of row `source` over row `target`."""

    source: int
    target: int
    length: int


class Free(NamedTuple):
    """What a row holds after its first `keep` tokens is not needed any more."""

    row: int
    keep: int = 0


RowChange: TypeAlias = Swap | Copy | Free
