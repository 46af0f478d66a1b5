"""SentencePiece vocabularies as `tokenizers.Tokenizer`s.

SentencePiece joins whichever neighbours make the piece of the highest score. A list of merges does the same when it holds
every way in which a piece can come about, sorted by the piece's score.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from ai_assistant.errors import ModelPackageError, UnsupportedModelError

_SPACE = "\u2581"


class PieceKind(IntEnum):
    """SentencePiece's kinds of pieces, and GGUF's kinds of tokens: they are the same."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Piece:
    text: str
    score: float
    kind: int


@dataclass(frozen=True)
class SentencePieces:
    """All that decides how a text is encoded; a piece's place is its id.

    The space prefix stands before every stretch of text between special tokens, as in Llama's first tokenizers, or before
    the first one only, as in those that call themselves not legacy. `charsmap` is SentencePiece's compiled table of
    characters to replace, empty for none.
    """

    pieces: tuple[Piece, ...]
    is_unigram: bool
    adds_space_prefix: bool = True
    prefixes_first_only: bool = False
    removes_extra_spaces: bool = False
    charsmap: bytes = b""


def build_tokenizer(content: SentencePieces) -> Tokenizer:
    """The tokenizer with the same ids; raises UnsupportedModelError and ModelPackageError."""
    try:
        tokenizer = Tokenizer(_unigram(content) if content.is_unigram else _bpe(content))
        tokenizer.normalizer = _normalizer(content)
        if content.adds_space_prefix and content.prefixes_first_only:
            tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(_SPACE, prepend_scheme="first", split=False)
    except (ModelPackageError, UnsupportedModelError):
        raise
    except Exception as error:  # tokenizers raises plain Exception
        raise ModelPackageError(f"The model's tokenizer is damaged: {error}.") from error
    tokenizer.decoder = _decoder(content)
    add_tokens(tokenizer, [_spelling(piece) for piece in content.pieces], [piece.kind for piece in content.pieces])
    return tokenizer


def add_tokens(tokenizer: Tokenizer, tokens: Sequence[str], kinds: Sequence[int]) -> None:
    """Makes control and unknown tokens special, and user-defined ones whole wherever they stand in a text."""
    found: dict[bool, list[AddedToken]] = {True: [], False: []}
    for token, kind in zip(tokens, kinds, strict=True):
        if kind in {PieceKind.CONTROL, PieceKind.UNKNOWN, PieceKind.USER_DEFINED}:
            is_special = kind != PieceKind.USER_DEFINED
            found[is_special].append(AddedToken(token, special=is_special, normalized=False))
    # All at once: each call makes the search for them anew.
    tokenizer.add_special_tokens(found[True])
    tokenizer.add_tokens(found[False])


def begins_with(token: str, token_id: int) -> Any:
    """The post-processor that puts one token before a text; chats are encoded without it, for their template writes it."""
    special = [(token, token_id)]
    return processors.TemplateProcessing(single=f"{token} $A", pair=f"{token} $A {token}:1 $B:1", special_tokens=special)


def _bpe(content: SentencePieces) -> Any:
    unknown = _unknown_id(content)
    vocabulary = {_spelling(piece): index for index, piece in enumerate(content.pieces)}
    if len(vocabulary) != len(content.pieces):
        raise ModelPackageError("The model's tokenizer has the same token twice; it is damaged.")
    return models.BPE(
        vocab=vocabulary,
        merges=_merges(content),
        unk_token=None if unknown is None else content.pieces[unknown].text,
        fuse_unk=True,
        byte_fallback=_has_bytes(content),
    )


def _merges(content: SentencePieces) -> list[tuple[str, str]]:
    """Every pair of pieces that makes a piece, the ones that SentencePiece prefers first."""
    scores = {piece.text: piece.score for piece in content.pieces if piece.kind == PieceKind.NORMAL}
    if len(scores) > 1 and len(set(scores.values())) == 1:
        raise UnsupportedModelError(
            "The model's tokenizer has lost its scores, without which a text cannot be encoded; "
            "choose another conversion of the model, or its original files."
        )

    def ways() -> Iterator[tuple[float, int, str, str]]:
        for text, score in scores.items():
            for cut in range(1, len(text)):
                if text[:cut] in scores and text[cut:] in scores:
                    yield -score, -cut, text[:cut], text[cut:]

    return [(left, right) for _, _, left, right in sorted(ways())]


def _unigram(content: SentencePieces) -> Any:
    unknown = _unknown_id(content)
    if unknown is None:
        raise UnsupportedModelError("The model's tokenizer (Unigram) has no token for unknown text; it is not supported.")
    lowest = min((piece.score for piece in content.pieces if piece.kind == PieceKind.NORMAL), default=0.0)
    # A control or byte token is never chosen for text that happens to be spelled like its name.
    hidden = lowest - 1000
    vocabulary = [
        (_spelling(piece), hidden if piece.kind in {PieceKind.CONTROL, PieceKind.UNUSED, PieceKind.BYTE} else piece.score)
        for piece in content.pieces
    ]
    return models.Unigram(vocabulary, unk_id=unknown, byte_fallback=_has_bytes(content))


def _normalizer(content: SentencePieces) -> Any:
    steps: list[Any] = [normalizers.Precompiled(content.charsmap)] if content.charsmap else []
    if content.removes_extra_spaces:
        steps += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    if content.adds_space_prefix and content.prefixes_first_only:
        return normalizers.Sequence(steps)  # Metaspace does the rest, for it alone knows what is first
    if content.adds_space_prefix:
        steps.append(normalizers.Prepend(_SPACE))
    return normalizers.Sequence([*steps, normalizers.Replace(" ", _SPACE)])


def _decoder(content: SentencePieces) -> Any:
    steps: list[Any] = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if content.adds_space_prefix:
        steps.append(decoders.Strip(content=" ", left=1, right=0))
    return decoders.Sequence(steps)


def _spelling(piece: Piece) -> str:
    """A user-defined piece is looked for in the text as it is written, before spaces are replaced."""
    return piece.text.replace(_SPACE, " ") if piece.kind == PieceKind.USER_DEFINED else piece.text


def _unknown_id(content: SentencePieces) -> int | None:
    return next((index for index, piece in enumerate(content.pieces) if piece.kind == PieceKind.UNKNOWN), None)


def _has_bytes(content: SentencePieces) -> bool:
    return any(piece.kind == PieceKind.BYTE for piece in content.pieces)
