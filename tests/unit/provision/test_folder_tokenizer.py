"""The tokenizer of a checkpoint folder: its ids, what ends an answer, and the chat template, as transformers finds them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, models

from ai_assistant.errors import ModelPackageError, UnsupportedModelError
from ai_assistant.provision.checkpoint import TokenizerFiles
from ai_assistant.provision.folder_tokenizer import read_tokenizer
from unit.provision.tiny_checkpoint import TEMPLATE, write_tokenizer
from unit.provision.tiny_llama import VOCABULARY

Write = Callable[..., None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tokenizer(tmp_path)
    return tmp_path


@pytest.fixture
def write(folder: Path) -> Write:
    """Adds keys to a JSON file of the folder."""

    def add(name: str, **values: Any) -> None:
        before = json.loads((folder / name).read_text()) if (folder / name).exists() else {}
        (folder / name).write_text(json.dumps(before | values))

    return add


def read(folder: Path, *, rows: int = VOCABULARY, ends: tuple[int, ...] = (2,)) -> TokenizerFiles:
    files, _ = read_tokenizer(folder, rows=rows, eos_token_ids=ends)
    return files


def test_the_file_is_used_as_it_is(folder: Path) -> None:
    files, vocabulary = read_tokenizer(folder, rows=VOCABULARY + 50, eos_token_ids=(2,))
    assert json.loads(files.tokenizer_json) == json.loads((folder / "tokenizer.json").read_text())
    assert vocabulary == VOCABULARY
    assert files.chat_template == TEMPLATE
    assert files.special_tokens == {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}


def test_every_file_may_name_what_ends_an_answer(folder: Path, write: Write) -> None:
    write("generation_config.json", eos_token_id=[7, 2])
    assert read(folder, ends=(0, 7)).eos_token_ids == (7, 2, 0)
    write("generation_config.json", eos_token_id=9)
    assert read(folder, ends=()).eos_token_ids == (9, 2)
    write("tokenizer_config.json", eos_token=None)
    (folder / "generation_config.json").unlink()
    with pytest.raises(UnsupportedModelError, match=r"no token that ends an answer \(eos_token_id in generation_config.json\)"):
        read(folder, ends=())
    with pytest.raises(ModelPackageError, match="The token 9999, which ends an answer"):
        read(folder, ends=(9999,))


def test_an_end_beyond_the_tokenizer_stays_in_the_model(folder: Path) -> None:
    _, vocabulary = read_tokenizer(folder, rows=VOCABULARY + 50, eos_token_ids=(VOCABULARY + 3,))
    assert vocabulary == VOCABULARY + 4


@pytest.mark.parametrize("value", ["five", [1.5], {"id": 5}, -1])
def test_an_end_that_is_no_token_is_named(folder: Path, write: Write, value: Any) -> None:
    write("generation_config.json", eos_token_id=value)
    with pytest.raises(ModelPackageError, match=r"generation_config.json names .* not a token id"):
        read(folder)


def test_the_template_is_taken_from_the_first_place_that_has_one(folder: Path, write: Write) -> None:
    named = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "named"}]
    write("tokenizer_config.json", chat_template=named)
    assert read(folder).chat_template == "named"
    write("chat_template.json", chat_template="of its own")
    assert read(folder).chat_template == "of its own"
    (folder / "chat_template.jinja").write_text("{{ 'jinja' }}")
    assert read(folder).chat_template == "{{ 'jinja' }}"


def test_a_model_may_have_no_template(folder: Path, write: Write) -> None:
    write("tokenizer_config.json", chat_template=None)
    assert read(folder).chat_template is None
    write("tokenizer_config.json", chat_template=[{"name": "tool_use", "template": "tools"}])
    assert read(folder).chat_template is None
    write("tokenizer_config.json", chat_template=[{"name": []}, {"name": "default", "template": "last"}])
    assert read(folder).chat_template == "last"
    write("tokenizer_config.json", chat_template="half \ud83d")
    with pytest.raises(ModelPackageError, match=r"tokenizer_config.json is not JSON"):
        read(folder)
    write("tokenizer_config.json", chat_template=5)
    with pytest.raises(ModelPackageError, match="neither a text nor a list"):
        read(folder)
    write("tokenizer_config.json", chat_template="{% if %}")
    with pytest.raises(ModelPackageError, match="chat template is broken"):
        read(folder)


def test_special_tokens_may_be_in_a_file_of_their_own(folder: Path, write: Write) -> None:
    (folder / "tokenizer_config.json").unlink()
    write("special_tokens_map.json", bos_token={"content": "<|im_start|>", "lstrip": False}, eos_token="<|endoftext|>")
    files = read(folder, ends=())
    assert files.special_tokens == {"bos_token": "<|im_start|>", "eos_token": "<|endoftext|>"}
    assert files.eos_token_ids == (0,)


def test_a_token_that_only_the_config_knows_is_added(folder: Path, write: Write) -> None:
    entry = {"content": "<|call|>", "special": True, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    known = entry | {"content": "<|im_end|>"}
    write("tokenizer_config.json", added_tokens_decoder={"2": known, str(VOCABULARY): entry})
    files, vocabulary = read_tokenizer(folder, rows=VOCABULARY + 5, eos_token_ids=(2,))
    assert vocabulary == VOCABULARY + 1
    assert Tokenizer.from_str(files.tokenizer_json).encode("a<|call|>").ids[-1] == VOCABULARY


def test_added_tokens_without_a_row_are_left_out(tmp_path: Path) -> None:
    """Whoever fine-tunes often adds a padding token and leaves the model as it was."""
    write_tokenizer(tmp_path, added=("<pad>",))
    files, vocabulary = read_tokenizer(tmp_path, rows=VOCABULARY, eos_token_ids=(2,))
    assert vocabulary == VOCABULARY
    assert max(Tokenizer.from_str(files.tokenizer_json).encode("a<pad>b").ids) < VOCABULARY
    files, vocabulary = read_tokenizer(tmp_path, rows=VOCABULARY + 1, eos_token_ids=(2,))
    assert vocabulary == VOCABULARY + 1


def test_a_vocabulary_larger_than_the_model_is_another_models(folder: Path) -> None:
    with pytest.raises(ModelPackageError, match=rf"{VOCABULARY} tokens for an embedding of 100 rows"):
        read(folder, rows=100)


def test_what_the_trainer_cut_texts_to_does_not_cut_prompts(folder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(folder / "tokenizer.json"))
    assert len(Tokenizer.from_str(read(folder).tokenizer_json).encode("longer than 4").ids) == 12


def test_ids_with_gaps_are_refused(folder: Path, write: Write) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    far = content["added_tokens"][0] | {"id": VOCABULARY + 7, "content": "<|far|>"}
    write("tokenizer.json", added_tokens=[*content["added_tokens"], far])
    with pytest.raises(UnsupportedModelError, match=r"'<\|far\|>' is to have the id 269 and gets 262"):
        read(folder, rows=VOCABULARY + 50)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "tokenizer.json is not JSON"),
        ("{}", "tokenizer.json is damaged"),
        ('{"model": {"vocab": {"a": "b"}}}', "tokenizer.json is damaged"),
        ('{"model": {"vocab": [[]]}}', "tokenizer.json is damaged"),
        ('{"model": {"vocab": {"a": 0}}, "added_tokens": [{}]}', "tokenizer.json is damaged"),
        ('{"model": {"type": "BPE", "vocab": {"a": 0}}, "decoder": {"type": "ByteLevel"}}', "broken"),
    ],
)
def test_a_damaged_file_is_named(folder: Path, content: str, sentence: str) -> None:
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(ModelPackageError, match=sentence):
        read(folder)


def test_a_kind_that_the_worker_cannot_stream_is_refused_at_once(folder: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "</s>": 1}, unk_token="a"))
    tokenizer.add_special_tokens([AddedToken("</s>")])
    tokenizer.save(str(folder / "tokenizer.json"))
    with pytest.raises(UnsupportedModelError, match="tokenizer decodes by nothing"):
        read(folder)


def test_a_folder_without_a_tokenizer_is_not_whole(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelPackageError, match=r"has neither tokenizer.json nor tokenizer.model"):
        read(folder)
    (folder / "tokenizer.model").touch()
    with pytest.raises(ModelPackageError, match=r"tokenizer.model is not a SentencePiece model"):
        read(folder)
