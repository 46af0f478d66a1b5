"""Whether a child in the cluster still is what we want, so that what is right is not written again. Pure.

The API server fills in defaults and writes quantities its own way: what we want must be *in* what is there, not equal to it.
"""

import re
from decimal import Decimal, InvalidOperation
from typing import Any

from ai_assistant_operator.names import HASH_ANNOTATION

Object = dict[str, Any]

KEYS = ("name", "mountPath", "containerPort", "topologyKey", "key", "ip", "uid", "type")
"""Fields by which the items of a list are told apart; the first one that all items have."""
QUANTITY = re.compile(r"^([+-]?[0-9.]+)(?:([eE][+-]?[0-9]+)|([numkMGTPE]|[KMGTPE]i)?)$")
SUFFIXES = {"n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "k": Decimal(1000)} | {
    letter: Decimal(1000) ** power for power, letter in enumerate("MGTPE", 2)
}
BINARY = {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", 1)}
QUANTITIES = {"requests", "limits", "capacity", "hard"}


def is_right(wanted: Object, live: Object | None) -> bool:
    """Nothing has to be written. Replicas count like any other field."""
    if live is None or live["metadata"].get("deletionTimestamp"):
        return False
    return applied_hash(wanted) == applied_hash(live) and contains(live, wanted)


def applied_hash(body: Object) -> str | None:
    value = (body["metadata"].get("annotations") or {}).get(HASH_ANNOTATION)
    return value if isinstance(value, str) else None


def contains(live: Any, wanted: Any, *, quantities: bool = False) -> bool:
    """Every value of `wanted` is in `live`. Empty values may be missing: the server leaves many of them out."""
    if isinstance(wanted, dict):
        if not isinstance(live, dict):
            return not wanted and live is None
        return all(contains(live.get(key), value, quantities=quantities or key in QUANTITIES) for key, value in wanted.items())
    if isinstance(wanted, list):
        return contains_list(live, wanted)
    if wanted is None or wanted is False or wanted == "" or (wanted == 0 and live is None):
        return live is None or live == wanted
    if live == wanted:
        return True
    return quantities and live is not None and same_quantity(str(live), str(wanted))


def contains_list(live: Any, wanted: list[Any]) -> bool:
    if not wanted:
        return not live
    if not isinstance(live, list):
        return False
    key = next((key for key in KEYS if all(isinstance(item, dict) and key in item for item in wanted)), None)
    if key is None or len({str(item[key]) for item in wanted}) < len(wanted):
        return len(live) == len(wanted) and all(contains(mine, other) for mine, other in zip(live, wanted, strict=True))
    found = {item.get(key): item for item in live if isinstance(item, dict)}
    return all(contains(found.get(item[key]), item) for item in wanted)


def same_quantity(one: str, other: str) -> bool:
    left, right = quantity(one), quantity(other)
    return left is not None and left == right


def quantity(text: str) -> Decimal | None:
    """The number that Kubernetes reads there, such as 0.5 for 500m; None when it is none."""
    match = QUANTITY.match(text)
    if match is None:
        return None
    try:
        number = Decimal(match[1] + (match[2] or ""))
    except InvalidOperation:
        return None
    return number * (SUFFIXES | BINARY).get(match[3] or "", Decimal(1))
