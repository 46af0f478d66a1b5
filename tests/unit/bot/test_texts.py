"""Everything the bot says: in every language, with the same values, short enough, and neither missing nor left over."""

import ast
import importlib
import pkgutil
import re
from pathlib import Path
from string import Formatter

import pytest

import ai_assistant.bot
from ai_assistant.bot import texts
from ai_assistant.bot.texts import LANGUAGES, TEXTS

SOURCES = [path for path in Path(ai_assistant.bot.__file__).parent.rglob("*.py") if path.parent.name != "texts"]
CYRILLIC = re.compile("[А-Яа-яЁё]")


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def strings(node: ast.AST) -> set[str]:
    return {item.value for item in ast.walk(node) if isinstance(item, ast.Constant) and isinstance(item.value, str)}


def beginnings_of(tree: ast.AST) -> set[str]:
    """Of strings that are put together and begin like a key."""
    firsts = [node.values[0] for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) and node.values]
    found = {str(first.value) for first in firsts if isinstance(first, ast.Constant)}
    return {start for start in found if re.fullmatch("[a-z]+_", start)}


def said() -> tuple[set[str], set[str]]:
    """Keys that are said, and beginnings of keys that are put together."""
    keys, beginnings = set(), set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "say" and node.args):
                continue
            key = node.args[0]
            if isinstance(key, ast.Constant):
                keys.add(str(key.value))
            elif isinstance(key, ast.IfExp):
                keys |= strings(key.body) | strings(key.orelse)
            elif isinstance(key, ast.JoinedStr) and isinstance(key.values[0], ast.Constant):
                beginnings.add(str(key.values[0].value))
    return keys, beginnings


@pytest.mark.parametrize("key", TEXTS)
def test_every_language_says_the_same(key: str) -> None:
    versions = TEXTS[key]
    assert set(versions) == set(LANGUAGES)
    assert len({frozenset(fields(text)) for text in versions.values()}) == 1
    for language, text in versions.items():
        assert text.strip(), language
        assert len(text.encode("utf-16-le")) // 2 <= 4096
    assert not CYRILLIC.search(versions["en"])
    if re.search("[a-z]", re.sub("{[^}]*}", "", versions["en"])):
        assert CYRILLIC.search(versions["ru"])


def test_no_key_has_two_texts() -> None:
    modules = [importlib.import_module(f"ai_assistant.bot.texts.{item.name}") for item in pkgutil.iter_modules(texts.__path__)]
    assert sum(len(module.TEXTS) for module in modules) == len(TEXTS)


def test_nothing_is_missing() -> None:
    keys, beginnings = said()
    assert keys - set(TEXTS) == set()
    assert [start for start in beginnings if not any(key.startswith(start) for key in TEXTS)] == []


def test_nothing_is_left_over() -> None:
    keys, beginnings = said()
    for path in SOURCES:  # keys that are chosen before they are said
        tree = ast.parse(path.read_text("utf-8"))
        keys |= strings(tree)
        beginnings |= beginnings_of(tree)
    assert [key for key in TEXTS if key not in keys and not key.startswith(tuple(beginnings))] == []
