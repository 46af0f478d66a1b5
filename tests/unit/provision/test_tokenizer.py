"""Tokenizers out of GGUF metadata. That the demo model's is exact is shown in tests/integration/test_model_build.py."""

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from ai_assistant.errors import ModelPackageError, UnsupportedModelError
from ai_assistant.provision.gguf_checkpoint import GgufCheckpoint
from unit.provision.tiny_llama import MERGES, TEMPLATE, TOKENS, TinyLlama

END = len(TOKENS)


def test_merges_digits_and_special_tokens(tiny_gguf: Path) -> None:
    files = GgufCheckpoint(tiny_gguf).tokenizer()
    tokenizer = Tokenizer.from_str(files.tokenizer_json)
    assert tokenizer.encode("the the").tokens == ["the", "Ġthe"]
    assert tokenizer.encode("<|im_start|>12<|im_end|>").tokens == ["<|im_start|>", "1", "2", "<|im_end|>"]
    text = "<|im_start|>Ёжик 日本 🙂\n  the end<|im_end|>"
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text
    assert tokenizer.decode(tokenizer.encode(text).ids) == "Ёжик 日本 🙂\n  the end"


def test_ends_template_and_names(tiny_gguf: Path) -> None:
    files = GgufCheckpoint(tiny_gguf).tokenizer()
    assert files.eos_token_ids == (2, 0)
    assert files.chat_template == TEMPLATE
    assert files.special_tokens == {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}


@pytest.mark.parametrize(
    ("metadata", "error", "sentence"),
    [
        ({"tokenizer.ggml.model": "llama"}, UnsupportedModelError, "tokenizer model 'llama'"),
        ({"tokenizer.ggml.pre": "qwen35"}, UnsupportedModelError, "pre-tokenizer 'qwen35' is not supported"),
        ({"tokenizer.ggml.tokens": TOKENS[:-1]}, ModelPackageError, f"{END - 1} tokens for an embedding of {END}"),
        ({"tokenizer.ggml.tokens": [*TOKENS[:-1], TOKENS[-2]]}, ModelPackageError, "same token twice"),
        ({"tokenizer.ggml.token_type": [1, 1]}, ModelPackageError, "2 token types"),
        ({"tokenizer.ggml.merges": [*MERGES, "alone"]}, ModelPackageError, "merge 'alone'"),
        ({"tokenizer.ggml.merges": [*MERGES, "x yz"]}, ModelPackageError, "x yz"),
        ({"tokenizer.ggml.eos_token_id": END}, ModelPackageError, f"eos token {END} is not in its vocabulary"),
    ],
)
def test_what_is_not_understood_is_named(
    tiny: TinyLlama, tmp_path: Path, metadata: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    checkpoint = GgufCheckpoint(tiny.write_gguf(tmp_path / "m.gguf", metadata=metadata))
    with pytest.raises(error, match=sentence):
        checkpoint.tokenizer()
