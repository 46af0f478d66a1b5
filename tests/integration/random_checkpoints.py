"""Makes small random checkpoints and their logits; run by a Python that has transformers, with FOLDER and TOKENIZER_FOLDER.

Each checkpoint is a folder as `save_pretrained` writes it, with a tokenizer and `reference.npz`: token ids and the logits
after each of them, in fp32, of the weights as they were saved.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

TEXT_LENGTHS = (1, 23, 120)
TOKENS = 259  # of the tokenizer; the embedding has more rows
SHAPE: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "eos_token_id": 2,
}
LLAMA_3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}


def configs() -> dict[str, tuple[PretrainedConfig, torch.dtype]]:
    """Every family with each of its options in some checkpoint, and what the weights are saved in."""
    llama = LlamaConfig(**SHAPE, tie_word_embeddings=False)
    biased = LlamaConfig(**SHAPE | {"head_dim": 32}, attention_bias=True, mlp_bias=True, tie_word_embeddings=True)
    scaled = LlamaConfig(**SHAPE | {"rope_theta": 500000.0}, rope_scaling=LLAMA_3, tie_word_embeddings=True)
    return {
        "llama": (llama, torch.float32),
        "llama-biases": (biased, torch.bfloat16),
        "llama-3": (scaled, torch.bfloat16),
        "llama-linear": (LlamaConfig(**SHAPE, rope_scaling={"rope_type": "linear", "factor": 4.0}), torch.float16),
        "mistral": (MistralConfig(**SHAPE, sliding_window=None), torch.bfloat16),
        "mistral-window": (MistralConfig(**SHAPE, sliding_window=24, head_dim=32), torch.float16),
        "qwen2": (Qwen2Config(**SHAPE, tie_word_embeddings=True, use_sliding_window=False), torch.bfloat16),
        "qwen2-yarn": (Qwen2Config(**SHAPE, rope_scaling=YARN), torch.float32),
        "qwen2-window": (
            Qwen2Config(**SHAPE, use_sliding_window=True, sliding_window=16, max_window_layers=0),
            torch.float32,
        ),
        "qwen3": (Qwen3Config(**SHAPE, head_dim=32, tie_word_embeddings=True), torch.bfloat16),
        "qwen3-biases": (Qwen3Config(**SHAPE, head_dim=16, attention_bias=True), torch.float32),
    }


def randomise(model: torch.nn.Module) -> None:
    """Weights of which each one matters: a fresh model has biases of 0, norms of 1 and logits near 0."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, values in model.named_parameters():
            noise = torch.randn(values.shape, generator=generator)
            if "norm" in name:
                values.copy_(1 + 0.3 * noise)
            elif name.endswith("bias"):
                values.copy_(0.5 * noise)
            elif "embed" in name:
                values.copy_(noise)
            else:
                values.copy_(1.5 * noise / values.shape[1] ** 0.5)


def reference(folder: Path) -> dict[str, np.ndarray]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    arrays = {}
    for index, length in enumerate(TEXT_LENGTHS):
        ids = np.random.default_rng(index).integers(0, TOKENS, length)
        with torch.no_grad():
            logits = model(torch.from_numpy(ids)[None]).logits[0]
        arrays |= {f"ids{index}": ids, f"logits{index}": logits.numpy()}
    return arrays


def main(root: Path, tokenizer: Path) -> None:
    for name, (config, dtype) in configs().items():
        folder = root / name
        model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
        randomise(model)
        # Some as one file, some in shards.
        model.to(dtype).save_pretrained(folder, max_shard_size="100KB" if dtype == torch.bfloat16 else "1GB")
        for file in tokenizer.iterdir():
            shutil.copy(file, folder)
        np.savez(folder / "reference.npz", **reference(folder))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
