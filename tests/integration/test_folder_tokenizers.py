"""Tokenizers of checkpoint folders give the ids that transformers gives, for texts and for chats."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ai_assistant.engine.tokenizer import Tokenizer
from ai_assistant.provision.folder_tokenizer import read_tokenizer

SCRIPT = Path(__file__).with_name("trained_tokenizers.py")
ROWS = 1000


@dataclass(frozen=True)
class Case:
    """A tokenizer as a worker opens it, and what transformers says."""

    tokenizer: Tokenizer
    expected: dict[str, Any]
    vocab_size: int


@pytest.fixture(scope="module")
def folders(export_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tokenizers")
    made = subprocess.run([export_python, SCRIPT, root], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return root


@pytest.fixture(
    scope="module", params=["chatml", "headers", "sentencepieces", "prefixed", "sentencepieces-only", "prefixed-only"]
)
def case(request: pytest.FixtureRequest, folders: Path) -> Case:
    folder = folders / request.param
    files, vocab_size = read_tokenizer(folder, rows=ROWS, eos_token_ids=())
    tokenizer = Tokenizer(
        files.tokenizer_json,
        chat_template=files.chat_template,
        special_tokens=files.special_tokens,
        eos_token_ids=files.eos_token_ids,
        vocab_size=vocab_size,
    )
    return Case(tokenizer, json.loads((folder / "reference.json").read_text()), vocab_size)


def test_texts_have_the_ids_of_transformers(case: Case) -> None:
    for text in case.expected["texts"]:
        assert case.tokenizer.encode(text["text"]) == text["ids"]
    for text in case.expected["with_special"]:
        assert case.tokenizer.encode(text["text"], add_special=True) == text["ids"]


def test_chats_have_the_ids_of_transformers(case: Case) -> None:
    for chat in case.expected["chats"]:
        assert case.tokenizer.render_chat(chat["messages"]) == chat["text"]
        assert case.tokenizer.encode_chat(chat["messages"]) == chat["ids"]


def test_ids_have_the_texts_of_transformers(case: Case) -> None:
    for text in case.expected["texts"]:
        assert case.tokenizer.decode(text["ids"], skip_special=False) == text["decoded"]


def test_the_vocabulary_and_its_end_are_those_of_transformers(case: Case) -> None:
    assert case.vocab_size == case.expected["size"]
    assert case.tokenizer.eos_token_ids == (case.expected["eos"],)
