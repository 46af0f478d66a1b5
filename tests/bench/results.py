"""docs/benchmarks.json as objects: every record of every round, and what machine they come from. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.timeline import Values, median

FORMAT = 1


@dataclass(frozen=True)
class Record:
    """One measurement of one contender in one round (counted from 1)."""

    round: int
    contender: str
    measure: str
    values: Values


@dataclass(frozen=True)
class Spread:
    """A number over the rounds."""

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """None without values."""
        found = list(values)
        return cls(median(found), min(found), max(found), len(found)) if found else None


class Round:
    """The records of one round; a measurement that a contender does not have is None."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._values = {(record.contender, record.measure): record.values for record in records}

    def get(self, contender: str, measure: str, name: str) -> float | None:
        return self._values.get((contender, measure), {}).get(name)

    def contenders(self, prefix: str) -> list[str]:
        return sorted({contender for contender, _ in self._values if contender.startswith(prefix)})


@dataclass
class Run:
    """One `make bench`."""

    date: str
    machine: dict[str, str]
    versions: dict[str, str]
    titles: dict[str, str]
    """Contenders by name, in the order of the tables."""
    is_quick: bool = False
    records: list[Record] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    """Contenders that could not be measured, and why."""
    minutes: float = 0.0

    @property
    def rounds(self) -> list[Round]:
        numbers = sorted({record.round for record in self.records})
        return [Round(record for record in self.records if record.round == number) for number in numbers]

    def spread(self, contender: str, measure: str, name: str) -> Spread | None:
        found = (current.get(contender, measure, name) for current in self.rounds)
        return Spread.of(value for value in found if value is not None)

    def to_json(self) -> str:
        """One line per record, so that two runs can be compared with a diff."""
        head = asdict(self)
        records = ",\n".join(f"    {json.dumps(record)}" for record in head.pop("records"))
        lines = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in {"format": FORMAT, **head}.items()]
        return "{\n" + ",\n".join([*lines, f'  "records": [\n{records}\n  ]']) + "\n}\n"

    @classmethod
    def from_json(cls, text: str) -> Run:
        """Raises ValueError for anything that `to_json` did not write."""
        content: Mapping[str, Any] = json.loads(text)
        if content.get("format") != FORMAT:
            raise ValueError(f"This is not a benchmark of format {FORMAT}.")
        fields = {name: value for name, value in content.items() if name not in ("format", "records")}
        return cls(**fields, records=[Record(**record) for record in content["records"]])
