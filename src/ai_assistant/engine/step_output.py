"""What a step of the engine says: tokens, losses and statistics."""

from __future__ import annotations

from dataclasses import dataclass, field

from ai_assistant.engine.sequence import FinishReason
from ai_assistant.errors import ModelError


@dataclass(frozen=True, slots=True)
class TokenOutput:
    """A new token of a sequence, its end, or both. Without a token the sequence ended between two tokens."""

    seq_id: str
    token_id: int | None
    finish_reason: FinishReason | None
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class SequenceFailure:
    """A sequence that the model could not compute; it is not in the engine any more."""

    seq_id: str
    error: ModelError


@dataclass(frozen=True, slots=True)
class StepStats:
    """What a step did and how full the engine is after it."""

    num_running: int
    num_waiting: int
    num_prefill_tokens: int
    num_decode_rows: int
    duration: float  # seconds
    decode_seconds: float
    prefill_seconds: float
    kv_tokens: int  # of sequences that run
    kv_bytes: int  # reserved, not only used
    num_parked: int
    parked_tokens: int
    # Since the engine was made:
    num_preempted: int
    num_evicted: int  # parked rows that had to go before their time
    reused_tokens: int  # of prompts, found in rows instead of computed


@dataclass(frozen=True, slots=True)
class StepOutput:
    """At most one token per sequence, and the sequences that were lost."""

    tokens: list[TokenOutput]
    stats: StepStats
    failures: list[SequenceFailure] = field(default_factory=list)
