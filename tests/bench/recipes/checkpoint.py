"""`python -m bench.recipes.checkpoint GGUF TOKENIZER TARGET`: a Hugging Face checkpoint in fp32 of a GGUF file.

transformers reads the weights right and the tokenizer wrong (end token, pre-tokenizer), so that one comes from our package.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast


def convert(gguf: Path, tokenizer: Path, target: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    model.config.bos_token_id, model.config.eos_token_id, model.config.pad_token_id = 1, 2, 2
    model.generation_config.eos_token_id = [2]
    model.save_pretrained(target, safe_serialization=True)
    PreTrainedTokenizerFast(
        tokenizer_file=str(tokenizer), bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>"
    ).save_pretrained(target)


if __name__ == "__main__":
    convert(*map(Path, sys.argv[1:]))
