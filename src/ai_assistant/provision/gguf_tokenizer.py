"""Makes `tokenizer.json` and the chat template out of GGUF metadata.

A tokenizer that is almost right makes a model that is quietly worse, so an unknown kind is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from tokenizers import Tokenizer, decoders, models

from ai_assistant.errors import ModelPackageError, UnsupportedModelError
from ai_assistant.provision.checkpoint import TokenizerFiles
from ai_assistant.provision.gguf_file import GgufFile
from ai_assistant.provision.pre_tokenizers import PRE_TOKENIZERS
from ai_assistant.provision.sentencepiece_tokenizer import (
    Piece,
    PieceKind,
    SentencePieces,
    add_tokens,
    begins_with,
    build_tokenizer,
)

# Control tokens with these names end an answer even where the metadata names only one of them.
_END_MARKUP = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|EOT|>",
    "<｜end▁of▁sentence｜>",
)
_END_TOKENS = (*_END_MARKUP, "</s>")


def count_tokens(file: GgufFile, *, rows: int) -> int:
    """How many tokens the model has, without those that only fill its embedding of so many rows up."""
    tokens, kinds = _tokens(file, rows), _kinds(file, rows)
    count = rows
    while count and kinds[count - 1] == PieceKind.UNUSED and tokens[count - 1].startswith("[PAD"):
        count -= 1
    return count


def tokenizer_from_gguf(file: GgufFile, *, rows: int) -> TokenizerFiles:
    """Reads the tokenizer that a GGUF file describes: byte-level BPE, or SentencePiece; the embedding has so many rows.

    Raises UnsupportedModelError for kinds that are not known exactly, and ModelPackageError for what contradicts itself.
    """
    count = count_tokens(file, rows=rows)
    tokens = _tokens(file, rows)[:count]
    kinds = _with_end_tokens(file, tokens, _kinds(file, rows)[:count])
    match file.text("tokenizer.ggml.model"):
        case "gpt2":
            tokenizer, adds_bos = _byte_level_bpe(file, tokens, kinds)
        case "llama":
            tokenizer, adds_bos = _sentencepiece(file, rows, tokens, kinds), True
        case kind:
            raise UnsupportedModelError(
                f"The tokenizer model {kind!r} is not supported; supported: 'gpt2' (byte-level BPE) and 'llama' (SentencePiece)."
            )
    _begin_with_bos(tokenizer, file, tokens, adds_bos)
    return TokenizerFiles(
        tokenizer_json=tokenizer.to_str(),
        chat_template=file.text("tokenizer.chat_template"),
        eos_token_ids=_eos_token_ids(file, tokens, kinds),
        special_tokens=_special_tokens(file, tokens),
    )


def _byte_level_bpe(file: GgufFile, tokens: list[str], kinds: Sequence[int]) -> tuple[Tokenizer, bool]:
    """The tokenizer, and whether it begins a text with BOS where the metadata does not say."""
    name = file.text("tokenizer.ggml.pre")
    known = PRE_TOKENIZERS.get(name or "")
    if known is None:
        raise UnsupportedModelError(
            f"The pre-tokenizer {name!r} is not supported; supported: {', '.join(PRE_TOKENIZERS)}. "
            "The model's original files (safetensors) carry their tokenizer whole."
        )
    vocabulary = {token: index for index, token in enumerate(tokens)}
    if len(vocabulary) != len(tokens):
        raise ModelPackageError("The model's tokenizer has the same token twice; it is damaged.")
    merges = _merges(file, vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=known.ignore_merges))
    if known.normalizer:
        tokenizer.normalizer = known.normalizer()
    tokenizer.pre_tokenizer = known.pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    # Unused and byte tokens are never typed by people and never need their own rule in byte-level BPE.
    add_tokens(tokenizer, tokens, kinds)
    return tokenizer, known.adds_bos


def _sentencepiece(file: GgufFile, rows: int, tokens: list[str], kinds: Sequence[int]) -> Tokenizer:
    scores = file.numbers("tokenizer.ggml.scores")
    if scores is None:
        raise UnsupportedModelError(f"{file.path.name} carries no tokenizer scores.")
    if len(scores) != rows:
        raise ModelPackageError(f"The model describes {len(scores)} token scores for {rows} tokens; it is damaged.")
    scores = scores[: len(tokens)]
    if not np.isfinite(scores).all():
        raise ModelPackageError("The model's tokenizer has scores that are no numbers; it is damaged.")
    if file.has("tokenizer.ggml.precompiled_charsmap"):
        raise UnsupportedModelError("The model's tokenizer replaces characters first, which is not supported from GGUF.")
    pieces = tuple(map(Piece, tokens, scores.tolist(), kinds))
    # BPE's scores count merges; Unigram's are logarithms of probabilities. The metadata does not say which it is.
    is_unigram = any(piece.kind == PieceKind.NORMAL and not piece.score.is_integer() for piece in pieces)
    return build_tokenizer(
        SentencePieces(
            pieces=pieces,
            is_unigram=is_unigram,
            adds_space_prefix=file.boolean("tokenizer.ggml.add_space_prefix") is not False,
            removes_extra_spaces=bool(file.boolean("tokenizer.ggml.remove_extra_whitespaces")),
        )
    )


def _tokens(file: GgufFile, rows: int) -> list[str]:
    tokens = file.texts("tokenizer.ggml.tokens")
    if not tokens:
        raise UnsupportedModelError(f"{file.path.name} carries no tokenizer.")
    if len(tokens) != rows:
        raise ModelPackageError(f"The model has {len(tokens)} tokens for an embedding of {rows} rows; it is damaged.")
    return tokens


def _kinds(file: GgufFile, rows: int) -> list[int]:
    found = file.integers("tokenizer.ggml.token_type")
    kinds = [int(PieceKind.NORMAL)] * rows if found is None else found.tolist()
    if len(kinds) != rows:
        raise ModelPackageError(f"The model describes {len(kinds)} token types for {rows} tokens; it is damaged.")
    return kinds


def _with_end_tokens(file: GgufFile, tokens: Sequence[str], kinds: Sequence[int]) -> list[int]:
    """What ends an answer is a control token, whatever a converter made of it.

    A person could write it into a message otherwise, or the template's would be read letter by letter.
    """
    named = {_token_id(file, role, len(tokens)) for role in ("bos", "eos", "eot", "eom")}

    def is_control(index: int) -> bool:
        return tokens[index] in _END_MARKUP or (index in named and kinds[index] == PieceKind.USER_DEFINED)

    return [int(PieceKind.CONTROL) if is_control(index) else kind for index, kind in enumerate(kinds)]


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


def _begin_with_bos(tokenizer: Tokenizer, file: GgufFile, tokens: list[str], adds_bos: bool) -> None:
    said = file.boolean("tokenizer.ggml.add_bos_token")
    bos = _token_id(file, "bos", len(tokens))
    if bos is not None and (adds_bos if said is None else said):
        tokenizer.post_processor = begins_with(tokens[bos], bos)


def _eos_token_ids(file: GgufFile, tokens: list[str], kinds: Sequence[int]) -> tuple[int, ...]:
    candidates = [_token_id(file, role, len(tokens)) for role in ("eos", "eot", "eom")]
    found = [value for value in candidates if value is not None]
    ids = {token: index for index, token in enumerate(tokens)}
    found += [ids[name] for name in _END_TOKENS if name in ids and kinds[ids[name]] == PieceKind.CONTROL]
    if not found:
        raise UnsupportedModelError(f"{file.path.name} names no token that ends an answer.")
    return tuple(dict.fromkeys(found))


def _special_tokens(file: GgufFile, tokens: list[str]) -> dict[str, str]:
    roles = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    ids = {name: _token_id(file, role, len(tokens)) for name, role in roles.items()}
    return {name: tokens[value] for name, value in ids.items() if value is not None}
