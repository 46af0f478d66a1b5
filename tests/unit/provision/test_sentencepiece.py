"""SentencePiece models trained here give the same ids after conversion, from their own file and from GGUF."""

import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from gguf_writer import write_gguf
from tokenizers import AddedToken, Tokenizer

from ai_assistant.engine.tokenizer import Tokenizer as EngineTokenizer
from ai_assistant.errors import ModelPackageError, UnsupportedModelError
from ai_assistant.provision.checkpoint import TokenizerFiles
from ai_assistant.provision.folder_tokenizer import read_tokenizer
from ai_assistant.provision.gguf_file import GgufFile
from ai_assistant.provision.gguf_tokenizer import tokenizer_from_gguf
from ai_assistant.provision.sentencepiece_model import tokenizer_from_sentencepiece
from unit.provision.tokenizer_texts import TEXTS, scrambled, sentences

# Llama's and Mistral's settings.
LLAMA = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
SETTINGS: dict[str, dict[str, Any]] = {
    "llama": LLAMA,
    "no-prefix": {**LLAMA, "add_dummy_prefix": False},
    "nfkc": {"normalization_rule_name": "nmt_nfkc"},
    "no-bytes": {**LLAMA, "byte_fallback": False},
}
# Markup counts as markup after conversion, which SentencePiece does not know; what is plain is compared below.
PLAIN = [text for text in [*TEXTS, *scrambled(200), *sentences(50, seed=2), "<0x41>", "a▁b"] if "<s>" not in text]


@cache
def trained(kind: str, settings: str, user_defined: tuple[str, ...] = ()) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([sentence.strip("\n") for sentence in sentences(1500)]),
        model_writer=model,
        model_type=kind,
        vocab_size=620 if kind == "bpe" else 480,
        minloglevel=2,
        num_threads=1,
        user_defined_symbols=list(user_defined),
        **({"byte_fallback": True} | SETTINGS[settings]),
    )
    return model.getvalue()


def written(tmp_path: Path, *args: Any) -> Path:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(trained(*args))
    return path


def kind_of(processor: Any, token_id: int) -> int:
    """The converter's token types."""
    if processor.is_unknown(token_id):
        return 2
    if processor.is_control(token_id):
        return 3
    return 6 if processor.is_byte(token_id) else 5 if processor.is_unused(token_id) else 1


def from_gguf(model: Path, tmp_path: Path, **metadata: Any) -> TokenizerFiles:
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    ids = range(processor.get_piece_size())
    values = {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": [*map(processor.id_to_piece, ids), "[PAD0]"],
        "tokenizer.ggml.scores": [*map(processor.get_score, ids), -10000.0],
        "tokenizer.ggml.token_type": [*(kind_of(processor, token_id) for token_id in ids), 5],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    } | {f"tokenizer.ggml.{key}": value for key, value in metadata.items()}
    file = write_gguf(tmp_path / "m.gguf", values, {"t": np.ones(1, np.float32)})
    return tokenizer_from_gguf(GgufFile(file), rows=len(ids) + 1)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_ids_are_those_of_sentencepiece(tmp_path: Path, kind: str, settings: str) -> None:
    path = written(tmp_path, kind, settings)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    tokenizer = Tokenizer.from_str(tokenizer_from_sentencepiece(path))
    # Its < is unknown to the model, which SentencePiece's Unigram prefers to a byte's name; every real model knows it.
    texts = [text for text in PLAIN if kind == "bpe" or text != "<0x41>"]
    for text in texts:
        ids = processor.encode(text)
        assert tokenizer.encode(text, add_special_tokens=False).ids == ids, text
        if settings != "no-bytes":
            assert tokenizer.decode(ids) == processor.decode(ids), text


@pytest.mark.parametrize("settings", ["llama", "no-prefix"])
@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_gguf_gives_the_same_ids(tmp_path: Path, kind: str, settings: str) -> None:
    path = written(tmp_path, kind, settings)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    files = from_gguf(path, tmp_path, **({"add_space_prefix": False} if settings == "no-prefix" else {}))
    tokenizer = Tokenizer.from_str(files.tokenizer_json)
    for text in PLAIN:
        if kind == "bpe" or text != "<0x41>":
            assert tokenizer.encode(text, add_special_tokens=False).ids == processor.encode(text), text
    assert tokenizer.encode("the end").ids[0] == 1
    assert files.eos_token_ids == (2,)
    assert files.special_tokens == {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_markup_is_markup_except_in_messages(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path, kind, "llama")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    tokenizer = EngineTokenizer(tokenizer_from_sentencepiece(path))
    after = processor.encode("it was</s>")
    assert tokenizer.encode_plain("it was</s>") == after
    assert tokenizer.encode("it was</s>") == [*processor.encode("it was"), 2]
    # As in Llama's own tokenizer.json a space stands before every stretch.
    assert tokenizer.encode("<s>it was") == [1, *processor.encode("it was")]


def test_user_defined_pieces_are_kept_whole(tmp_path: Path) -> None:
    path = written(tmp_path, "bpe", "no-prefix", ("<tool>", "▁▁"))
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    tokenizer = Tokenizer.from_str(tokenizer_from_sentencepiece(path))
    for text in ("<tool>the<tool> end", "the   end    of", "<tool >", "  <tool>"):
        assert tokenizer.encode(text, add_special_tokens=False).ids == processor.encode(text), text
        assert tokenizer.decode(processor.encode(text)) == text


def test_tokens_of_other_files_are_added(tmp_path: Path) -> None:
    path = written(tmp_path, "bpe", "llama")
    end = AddedToken("<|im_end|>", special=True, normalized=False)
    tokenizer = Tokenizer.from_str(tokenizer_from_sentencepiece(path, added_tokens={620: end}))
    assert tokenizer.encode("the<|im_end|>").ids[-1] == 620
    with pytest.raises(ModelPackageError, match=r"'<\|im_end\|>' has the id 700, but the next free one .* is 620"):
        tokenizer_from_sentencepiece(path, added_tokens={700: end})


def test_a_folder_with_nothing_but_sentencepiece_has_a_tokenizer(tmp_path: Path) -> None:
    path = written(tmp_path, "bpe", "llama")
    added = {"620": {"content": "<|im_end|>", "special": True, "normalized": False}}
    config = {"eos_token": "<|im_end|>", "bos_token": "<s>", "added_tokens_decoder": added}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    files, count = read_tokenizer(tmp_path, rows=640, eos_token_ids=())
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    tokenizer = EngineTokenizer(files.tokenizer_json)
    assert tokenizer.encode("it was the<|im_end|>", add_special=True) == [1, *processor.encode("it was the"), 620]
    assert (files.eos_token_ids, count) == ((620,), 621)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"add_bos_token": False}))
    files, _ = read_tokenizer(tmp_path, rows=640, eos_token_ids=())
    assert EngineTokenizer(files.tokenizer_json).encode("it was", add_special=True) == processor.encode("it was")


@pytest.mark.parametrize(
    ("metadata", "error", "sentence"),
    [
        ({"scores": [-1000.0] * 621}, UnsupportedModelError, "lost its scores"),
        ({"scores": [0.0]}, ModelPackageError, "1 token scores for 621 tokens"),
        ({"scores": [float("nan")] * 621}, ModelPackageError, "scores that are no numbers"),
        ({"tokens": ["a"] * 621}, ModelPackageError, "same token twice"),
        ({"precompiled_charsmap": [1, 2]}, UnsupportedModelError, "replaces characters first"),
    ],
)
def test_gguf_that_is_not_understood_is_refused(
    tmp_path: Path, metadata: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        from_gguf(written(tmp_path, "bpe", "llama"), tmp_path, **metadata)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "has no pieces"),
        (b"\x0a\xff\xff\xff\xff\x0f", "truncated or not a SentencePiece model"),
        (b"PK\x03\x04 a zip file", "truncated or not a SentencePiece model"),
    ],
)
def test_another_file_is_not_sentencepiece(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(content)
    with pytest.raises(ModelPackageError, match=sentence):
        tokenizer_from_sentencepiece(path)
    with pytest.raises(ModelPackageError, match="cannot be read"):
        tokenizer_from_sentencepiece(tmp_path / "none.model")


def test_other_kinds_of_sentencepiece_are_refused_by_name(tmp_path: Path) -> None:
    model = io.BytesIO()
    texts = iter(sentences(300))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=texts, model_writer=model, model_type="char", vocab_size=40, minloglevel=2, hard_vocab_limit=False
    )
    (tmp_path / "tokenizer.model").write_bytes(model.getvalue())
    with pytest.raises(UnsupportedModelError, match="of the kind CHAR"):
        tokenizer_from_sentencepiece(tmp_path / "tokenizer.model")


def test_damage_is_never_a_surprise(tmp_path: Path) -> None:
    content, path = trained("unigram", "nfkc"), tmp_path / "tokenizer.model"
    draw = np.random.default_rng(0)
    refused = 0
    for case in range(60):
        changed = bytearray(content[: draw.integers(1, len(content))] if case % 2 else content)
        for place in draw.integers(0, len(changed), 5):
            changed[place] = draw.integers(256)
        path.write_bytes(changed)
        try:
            json.loads(tokenizer_from_sentencepiece(path))
        except (ModelPackageError, UnsupportedModelError):
            refused += 1
    assert refused > 20
