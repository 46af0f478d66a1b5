"""Reads `tokenizer.model`, SentencePiece's own file, which older checkpoint folders have instead of `tokenizer.json`.

The file is one protobuf message. The protobuf library reads it by the few fields named here; of the sentencepiece package,
a compiled extension, nothing else would be used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from tokenizers import AddedToken

from ai_assistant.errors import ModelPackageError, UnsupportedModelError
from ai_assistant.provision.sentencepiece_tokenizer import (
    Piece,
    PieceKind,
    SentencePieces,
    begins_with,
    build_tokenizer,
)

_UNIGRAM, _BPE = 1, 2
_KIND_NAMES = {3: "WORD", 4: "CHAR"}

_TYPES = {
    "text": FieldDescriptorProto.TYPE_STRING,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "float": FieldDescriptorProto.TYPE_FLOAT,
    "int": FieldDescriptorProto.TYPE_INT32,
    "bool": FieldDescriptorProto.TYPE_BOOL,
}
# Message: field: (number, type, default), of sentencepiece_model.proto.
_MESSAGES: Mapping[str, Mapping[str, tuple[int, str, str | None]]] = {
    "Piece": {"piece": (1, "text", None), "score": (2, "float", None), "type": (3, "int", "1")},
    "Trainer": {"model_type": (3, "int", "1"), "space_is_suffix": (24, "bool", None)},
    "Normalizer": {
        "charsmap": (2, "bytes", None),
        "adds_space_prefix": (3, "bool", "true"),
        "removes_extra_spaces": (4, "bool", "true"),
        "escapes_spaces": (5, "bool", "true"),
    },
    "Model": {"pieces": (1, "Piece", None), "trainer": (2, "Trainer", None), "normalizer": (3, "Normalizer", None)},
}


def read_sentencepiece(path: Path) -> SentencePieces:
    """The content of a `tokenizer.model`; raises ModelPackageError and UnsupportedModelError."""
    message = _message_class()()
    try:
        message.ParseFromString(path.read_bytes())
    except OSError as error:
        raise ModelPackageError(f"{path} cannot be read: {error.strerror}.") from error
    except DecodeError as error:
        raise ModelPackageError(f"{path.name} is truncated or not a SentencePiece model; get it again.") from error
    if not message.pieces:
        raise ModelPackageError(f"{path.name} is not a SentencePiece model: it has no pieces.")
    kind = message.trainer.model_type
    if kind not in {_UNIGRAM, _BPE}:
        raise UnsupportedModelError(
            f"{path.name} is a SentencePiece model of the kind {_KIND_NAMES.get(kind, kind)}; supported are BPE and UNIGRAM."
        )
    if message.trainer.space_is_suffix or not message.normalizer.escapes_spaces:
        raise UnsupportedModelError(f"{path.name} writes spaces in an unusual way, which is not supported.")
    charsmap = message.normalizer.charsmap
    # tokenizers would stop the process for a table without entries.
    if charsmap and not 4 <= int.from_bytes(charsmap[:4], "little") < len(charsmap):
        raise ModelPackageError(f"{path.name} is damaged: its table of characters is not whole; get it again.")
    return SentencePieces(
        pieces=tuple(Piece(piece.piece, piece.score, piece.type) for piece in message.pieces),
        is_unigram=kind == _UNIGRAM,
        adds_space_prefix=message.normalizer.adds_space_prefix,
        removes_extra_spaces=message.normalizer.removes_extra_spaces,
        charsmap=charsmap,
    )


def tokenizer_from_sentencepiece(
    path: Path,
    *,
    added_tokens: Mapping[int, AddedToken] | None = None,
    adds_bos: bool = True,
    prefixes_first_only: bool = False,
) -> str:
    """The `tokenizer.json` that encodes as the `tokenizer.model` in `path` does.

    `added_tokens` are those that other files of the checkpoint add, by id. With `adds_bos` text that is encoded with special
    tokens begins with the model's `<s>`, if it has one, as Llama's tokenizers do.
    """
    content = replace(read_sentencepiece(path), prefixes_first_only=prefixes_first_only)
    tokenizer = build_tokenizer(content)
    for token_id, token in sorted((added_tokens or {}).items()):
        tokenizer.add_tokens([token])
        if tokenizer.token_to_id(token.content) != token_id:
            raise ModelPackageError(
                f"The added token {token.content!r} has the id {token_id}, but the next free one after {path.name} is "
                f"{tokenizer.token_to_id(token.content)}; the tokenizer files do not belong together."
            )
    for token_id, piece in enumerate(content.pieces):
        if adds_bos and piece.kind == PieceKind.CONTROL and piece.text == "<s>":
            tokenizer.post_processor = begins_with(piece.text, token_id)
    return tokenizer.to_str()


@cache
def _message_class() -> type[Any]:
    file = FileDescriptorProto(name="tokenizer_model.proto", package="tokenizer_model", syntax="proto2")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, default) in fields.items():
            added = message.field.add(name=field, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL)
            if kind in _TYPES:
                added.type = _TYPES[kind]
            else:
                added.type, added.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".tokenizer_model.{kind}"
            if field == "pieces":
                added.label = FieldDescriptorProto.LABEL_REPEATED
            if default is not None:
                added.default_value = default
    pool = DescriptorPool()
    pool.Add(file)
    message_class: type[Any] = GetMessageClass(pool.FindMessageTypeByName("tokenizer_model.Model"))
    return message_class
