"""Tokenizers out of GGUF metadata. That the demo model's is exact is shown in tests/integration/test_model_build.py."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf_writer import MERGES, SPECIALS, TEMPLATE, TOKENS, write_gguf
from tokenizers import Tokenizer, trainers

from ai_assistant.engine.tokenizer import Tokenizer as EngineTokenizer
from ai_assistant.errors import ModelPackageError, UnsupportedModelError
from ai_assistant.provision.checkpoint import TokenizerFiles
from ai_assistant.provision.gguf_checkpoint import GgufCheckpoint
from ai_assistant.provision.gguf_file import GgufFile
from ai_assistant.provision.gguf_tokenizer import tokenizer_from_gguf
from unit.provision.tiny_llama import TinyLlama
from unit.provision.tokenizer_texts import TEXTS, scrambled, sentences

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
        ({"tokenizer.ggml.model": "bert"}, UnsupportedModelError, "tokenizer model 'bert'"),
        ({"tokenizer.ggml.model": "llama"}, UnsupportedModelError, "no tokenizer scores"),
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
    model = tiny.write_gguf(tmp_path / "m.gguf", metadata=metadata)
    with pytest.raises(error, match=sentence):
        GgufCheckpoint(model).tokenizer()


def split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
GPT2 = {**BYTES, "use_regex": True}
DIGITS = {"type": "Digits", "individual_digits": True}
# As the models' own tokenizer.json has them: normalizer, pre-tokenizers, whether merges are ignored for known stretches.
ORIGINALS: dict[str, tuple[str | None, list[dict[str, Any]], bool]] = {
    "gpt-2": (None, [GPT2], False),
    "olmo": ("NFC", [GPT2], False),
    "smollm": (None, [DIGITS, GPT2], False),
    "qwen2": (
        "NFC",
        [
            split(
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            ),
            BYTES,
        ],
        False,
    ),
    "llama-bpe": (
        None,
        [
            split(
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                r"|\s*[\r\n]+|\s+(?!\S)|\s+"
            ),
            BYTES,
        ],
        True,
    ),
    "tekken": (
        None,
        [
            split(
                r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
                r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
                r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            ),
            BYTES,
        ],
        True,
    ),
    "deepseek-coder": (
        None,
        [split(r"[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split("[一-龥ࠀ-一가-\ud7ff]+"), DIGITS, BYTES],
        False,
    ),
}
MARKUP = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def trained(name: str) -> Tokenizer:
    """A tokenizer with the definition of a published one, trained here."""
    normalizer, steps, ignores = ORIGINALS[name]
    empty = json.loads(Tokenizer.from_str('{"model": {"type": "BPE", "vocab": {}, "merges": []}}').to_str())
    empty["normalizer"] = normalizer and {"type": normalizer}
    empty["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    empty["decoder"] = BYTES
    tokenizer = Tokenizer.from_str(json.dumps(empty))
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=MARKUP, initial_alphabet=TOKENS[len(SPECIALS) : len(SPECIALS) + 256], show_progress=False
    )
    tokenizer.train_from_iterator(sentences(600) + TEXTS, trainer)
    content = json.loads(tokenizer.to_str())
    content["model"]["ignore_merges"] = ignores
    if ignores:
        # A word that no merges lead to.
        content["model"]["vocab"]["Ġzyx"] = len(content["model"]["vocab"])
    return Tokenizer.from_str(json.dumps(content))


def exported(tokenizer: Tokenizer, path: Path, **metadata: Any) -> TokenizerFiles:
    """What our conversion makes of the tokenizer, by way of a GGUF file."""
    content = json.loads(tokenizer.to_str())
    special = {token["content"]: token["special"] for token in content["added_tokens"]}
    tokens = [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
    values = {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.merges": [" ".join(pair) for pair in content["model"]["merges"]],
        "tokenizer.ggml.token_type": [{None: 1, True: 3, False: 4}[special.get(token)] for token in tokens],
        "tokenizer.ggml.eos_token_id": 0,
        **{f"tokenizer.ggml.{key}": value for key, value in metadata.items()},
    }
    file = write_gguf(path, values, {"t": np.ones(1, np.float32)})
    return tokenizer_from_gguf(GgufFile(file), rows=len(tokens))


@pytest.mark.parametrize("name", sorted(ORIGINALS))
def test_ids_are_those_of_the_original(name: str, tmp_path: Path) -> None:
    original = trained(name)
    original.add_tokens(["<tool_call>", "  <extra>"])
    ours = Tokenizer.from_str(exported(original, tmp_path / "m.gguf", pre=name).tokenizer_json)
    texts = [*TEXTS, *scrambled(300), *sentences(50, seed=2), " zyx zyx <tool_call>x  <extra> <tool_call >"]
    for text in texts:
        assert ours.encode(text).ids == original.encode(text, add_special_tokens=False).ids, text
    for text in texts:
        ids = original.encode(text).ids
        assert ours.decode(ids, skip_special_tokens=False) == original.decode(ids, skip_special_tokens=False)
    assert ("Ġzyx" in ours.encode(" zyx").tokens) == ORIGINALS[name][2]


def test_composed_and_decomposed_letters_are_one_to_qwen_only(tmp_path: Path) -> None:
    for name, is_same in (("qwen2", True), ("smollm", False)):
        ours = Tokenizer.from_str(exported(trained(name), tmp_path / name, pre=name).tokenizer_json)
        assert (ours.encode("caf\u00e9").ids == ours.encode("cafe\u0301").ids) == is_same


@pytest.mark.parametrize(
    ("name", "said", "begins"),
    [("llama-bpe", None, True), ("llama-bpe", False, False), ("qwen2", None, False), ("qwen2", True, True)],
)
def test_bos_begins_a_text_only_where_it_should_and_never_a_chat(
    tmp_path: Path, name: str, said: bool | None, begins: bool
) -> None:
    metadata: dict[str, Any] = {"pre": name, "bos_token_id": 1} | ({} if said is None else {"add_bos_token": said})
    files = exported(trained(name), tmp_path / "m.gguf", **metadata)
    for template, bos in (("{{ bos_token }}{{ messages[0].content }}", [1]), ("{{ messages[0].content }}", [])):
        tokenizer = EngineTokenizer(
            files.tokenizer_json, chat_template=template, special_tokens=files.special_tokens, eos_token_ids=files.eos_token_ids
        )
        plain = tokenizer.encode_plain("the end")
        assert tokenizer.encode("the end", add_special=True) == [1] * begins + plain
        # The template alone decides about a chat.
        assert tokenizer.encode_chat([{"role": "user", "content": "the end"}]) == bos + plain


def chat_tokenizer(path: Path, metadata: Mapping[str, Any]) -> TokenizerFiles:
    values = {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": TOKENS,
        "tokenizer.ggml.merges": MERGES,
        "tokenizer.ggml.eos_token_id": 2,
        **metadata,
    }
    file = write_gguf(path, values, {"t": np.ones(1, np.float32)})
    return tokenizer_from_gguf(GgufFile(file), rows=len(TOKENS))


@pytest.mark.parametrize("kind", [1, 4], ids=["normal", "user-defined"])
def test_an_end_token_is_special_whatever_a_converter_made_of_it(tmp_path: Path, kind: int) -> None:
    """Or a person could end the turn in a message, or the template's would be read letter by letter."""
    kinds = [kind] * len(SPECIALS) + [1] * (len(TOKENS) - len(SPECIALS))
    files = chat_tokenizer(tmp_path / "m.gguf", {"tokenizer.ggml.token_type": kinds})
    tokenizer = EngineTokenizer(files.tokenizer_json)
    assert tokenizer.encode("<|im_end|>") == [2]
    assert 2 not in tokenizer.encode_plain("<|im_end|>")
    assert files.eos_token_ids == (2, 0)


def test_an_ordinary_token_that_metadata_calls_padding_stays_ordinary(tmp_path: Path) -> None:
    exclamation = TOKENS.index("!")
    files = chat_tokenizer(tmp_path / "m.gguf", {"tokenizer.ggml.padding_token_id": exclamation})
    assert EngineTokenizer(files.tokenizer_json).encode_plain("a!") == [TOKENS.index("a"), exclamation]
