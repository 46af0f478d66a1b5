"""What a graph is written from: the architecture's numbers and its weights by our own names, one at a time.

A reader of another file format is another class of this shape; the graph writer never learns where weights come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ai_assistant.engine.model_package import Architecture

Weights = npt.NDArray[np.float32]

LAYER_WEIGHTS = ("attention_norm", "query", "key", "value", "attention_output", "mlp_norm", "gate", "up", "down")
# What only some families have. The biases of one product (query, key and value; gate and up) come together or not at all,
# and so do both norms, which are over each head by itself.
OPTIONAL_LAYER_WEIGHTS = (
    "query_bias",
    "key_bias",
    "value_bias",
    "attention_output_bias",
    "query_norm",
    "key_norm",
    "gate_bias",
    "up_bias",
    "down_bias",
)


@dataclass(frozen=True)
class TokenizerFiles:
    """A tokenizer as the package carries it."""

    tokenizer_json: str
    chat_template: str | None
    eos_token_ids: tuple[int, ...]
    special_tokens: Mapping[str, str]


class Checkpoint(Protocol):
    """A decoder's weights on disk.

    Matrices are [outputs, inputs]; whatever belongs to queries and keys (rows, biases, norms) is in half-rotated order.
    """

    @property
    def architecture(self) -> Architecture: ...

    @property
    def name(self) -> str | None: ...

    @property
    def licence(self) -> str | None: ...

    def embedding(self) -> Weights: ...

    def output_norm(self) -> Weights: ...

    def lm_head(self) -> Weights:
        """The output matrix; of a tied model the embedding itself."""
        ...

    def layer(self, index: int, weight: str) -> Weights:
        """One of LAYER_WEIGHTS of one layer."""
        ...

    def optional_layer(self, index: int, weight: str) -> Weights | None:
        """One of OPTIONAL_LAYER_WEIGHTS of one layer, [outputs] or [head size]; None where the model has no such weight."""
        ...

    def tokenizer(self) -> TokenizerFiles: ...
