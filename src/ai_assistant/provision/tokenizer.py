"""Makes `tokenizer.json` and the chat template out of GGUF metadata.

A tokenizer that is almost right makes a model that is quietly worse, so an unknown kind is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from ai_assistant.errors import ModelPackageError, UnsupportedModelError
from ai_assistant.provision.checkpoint import TokenizerFiles
from ai_assistant.provision.gguf_file import GgufFile

# GGUF's token types.
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6

# Control tokens with these names end an answer even where the metadata names only one of them.
_END_TOKENS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "</s>")


def _digits_apart() -> Any:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )


def _gpt2() -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


PRE_TOKENIZERS: dict[str, Callable[[], Any]] = {
    "smollm": _digits_apart,
    "starcoder": _digits_apart,
    "gpt-2": _gpt2,
}


def tokenizer_from_gguf(file: GgufFile, *, vocab_size: int) -> TokenizerFiles:
    """Reads the byte-level BPE tokenizer that a GGUF file describes."""
    kind = file.text("tokenizer.ggml.model")
    if kind != "gpt2":
        raise UnsupportedModelError(f"The tokenizer model {kind!r} is not supported; supported: 'gpt2' (byte-level BPE).")
    pre = file.text("tokenizer.ggml.pre")
    if pre not in PRE_TOKENIZERS:
        raise UnsupportedModelError(f"The pre-tokenizer {pre!r} is not supported; supported: {', '.join(PRE_TOKENIZERS)}.")
    tokens = _tokens(file, vocab_size)
    types = file.integers("tokenizer.ggml.token_type") or [_NORMAL] * len(tokens)
    if len(types) != len(tokens):
        raise ModelPackageError(f"The model describes {len(types)} token types for {len(tokens)} tokens; it is damaged.")

    vocabulary = _vocabulary(tokens)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=_merges(file, vocabulary)))
    tokenizer.pre_tokenizer = PRE_TOKENIZERS[pre]()
    tokenizer.decoder = decoders.ByteLevel()
    for token, kind_of_token in zip(tokens, types, strict=True):
        # Unknown, unused and byte tokens are never typed by people and never need their own rule in byte-level BPE.
        if kind_of_token == _CONTROL:
            tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False)])
        elif kind_of_token == _USER_DEFINED:
            tokenizer.add_tokens([AddedToken(token, normalized=False)])
    return TokenizerFiles(
        tokenizer_json=tokenizer.to_str(),
        chat_template=file.text("tokenizer.chat_template"),
        eos_token_ids=_eos_token_ids(file, tokens, types),
        special_tokens=_special_tokens(file, tokens),
    )


def _tokens(file: GgufFile, vocab_size: int) -> list[str]:
    tokens = file.texts("tokenizer.ggml.tokens")
    if not tokens:
        raise UnsupportedModelError(f"{file.path.name} carries no tokenizer.")
    if len(tokens) != vocab_size:
        raise ModelPackageError(f"The model has {len(tokens)} tokens for an embedding of {vocab_size} rows; it is damaged.")
    return tokens


def _vocabulary(tokens: list[str]) -> dict[str, int]:
    vocabulary = {token: index for index, token in enumerate(tokens)}
    if len(vocabulary) != len(tokens):
        raise ModelPackageError("The model's tokenizer has the same token twice; it is damaged.")
    return vocabulary


def _merges(file: GgufFile, vocabulary: Mapping[str, int]) -> list[tuple[str, str]]:
    merges = []
    for line in file.texts("tokenizer.ggml.merges") or []:
        # Byte-level spelling has no space inside a token, so the one space divides the pair.
        left, _, right = line.partition(" ")
        if not (left in vocabulary and right in vocabulary and left + right in vocabulary):
            raise ModelPackageError(f"The model's tokenizer has the merge {line!r}, which is not of its tokens; it is damaged.")
        merges.append((left, right))
    if not merges:
        raise UnsupportedModelError(f"{file.path.name} carries no tokenizer merges.")
    return merges


def _token_id(file: GgufFile, role: str, size: int) -> int | None:
    value = file.integer(f"tokenizer.ggml.{role}_token_id")
    if value is not None and not 0 <= value < size:
        raise ModelPackageError(f"The model's {role} token {value} is not in its vocabulary; it is damaged.")
    return value


def _eos_token_ids(file: GgufFile, tokens: list[str], types: list[int]) -> tuple[int, ...]:
    candidates = [_token_id(file, role, len(tokens)) for role in ("eos", "eot", "eom")]
    found = [value for value in candidates if value is not None]
    ids = {token: index for index, token in enumerate(tokens)}
    found += [ids[name] for name in _END_TOKENS if name in ids and types[ids[name]] == _CONTROL]
    if not found:
        raise UnsupportedModelError(f"{file.path.name} names no token that ends an answer.")
    return tuple(dict.fromkeys(found))


def _special_tokens(file: GgufFile, tokens: list[str]) -> dict[str, str]:
    roles = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    ids = {name: _token_id(file, role, len(tokens)) for name, role in roles.items()}
    return {name: tokens[value] for name, value in ids.items() if value is not None}
