"""One short word for all that a child was made of, so that what is unchanged is neither written nor restarted. Pure."""

import hashlib
import json
from typing import Any

_DIGITS = 16


def rollout_hash(*inputs: Any) -> str:
    """The same for equal inputs in any order of keys. Inputs are what JSON can hold; raises TypeError for others."""
    text = json.dumps(inputs, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
