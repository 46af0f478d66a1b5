"""Reads the tokenizer of a checkpoint folder: `tokenizer.json` as it is, what ends an answer, and the chat template."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken

from ai_assistant.engine.tokenizer import Tokenizer
from ai_assistant.errors import ModelPackageError, UnsupportedModelError
from ai_assistant.provision.checkpoint import TokenizerFiles
from ai_assistant.provision.checkpoint_json import read_json_object, token_ids
from ai_assistant.provision.sentencepiece_model import tokenizer_from_sentencepiece

_TOKENIZER, _SENTENCEPIECE = "tokenizer.json", "tokenizer.model"
_TOKENIZER_CONFIG, _GENERATION_CONFIG = "tokenizer_config.json", "generation_config.json"
_SPECIAL_TOKENS = "special_tokens_map.json"
_TEMPLATE, _TEMPLATE_JSON = "chat_template.jinja", "chat_template.json"
_ROLES = ("bos_token", "eos_token", "unk_token", "pad_token")
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized")


def read_tokenizer(folder: Path, *, rows: int, eos_token_ids: tuple[int, ...]) -> tuple[TokenizerFiles, int]:
    """The tokenizer's files and how many tokens it has; `rows` are those of the embedding, the ids those of config.json.

    Raises UnsupportedModelError and ModelPackageError.
    """
    config = _object_if_there(folder / _TOKENIZER_CONFIG)
    content = _readable(_tokenizer_json(folder, config), rows)
    tokens = dict(_all_tokens(content))
    special = _special_tokens(config, _object_if_there(folder / _SPECIAL_TOKENS))
    generation = _object_if_there(folder / _GENERATION_CONFIG)
    ends = [*token_ids(generation.get("eos_token_id"), _GENERATION_CONFIG), *eos_token_ids]
    if (end := tokens.get(special.get("eos_token", ""))) is not None:
        ends.append(end)
    if not ends:
        raise UnsupportedModelError(f"The model names no token that ends an answer (eos_token_id in {_GENERATION_CONFIG}).")
    if max(ends) >= rows:
        raise ModelPackageError(f"The token {max(ends)}, which ends an answer, is not in the vocabulary of {rows} tokens.")
    files = TokenizerFiles(
        tokenizer_json=json.dumps(content, ensure_ascii=False),
        chat_template=_chat_template(folder, config),
        eos_token_ids=tuple(dict.fromkeys(ends)),
        special_tokens=special,
    )
    _check(files, content)
    return files, max(*tokens.values(), *ends) + 1


def _check(files: TokenizerFiles, content: Mapping[str, Any]) -> None:
    """Refuses now what a worker would refuse, and ids that come out otherwise."""
    Tokenizer(
        files.tokenizer_json,
        chat_template=files.chat_template,
        special_tokens=files.special_tokens,
        eos_token_ids=files.eos_token_ids,
    )
    tokenizer = tokenizers.Tokenizer.from_str(files.tokenizer_json)
    for token in content["added_tokens"]:
        if (actual := tokenizer.token_to_id(token["content"])) != token["id"]:
            raise UnsupportedModelError(
                f"The token {token['content']!r} is to have the id {token['id']} and gets {actual}: the ids of the tokenizer"
                " have gaps, which is not supported."
            )


def _tokenizer_json(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    added = _added_tokens(config)
    if (folder / _TOKENIZER).exists():
        content = read_json_object(folder / _TOKENIZER)
    elif (folder / _SENTENCEPIECE).exists():
        source = tokenizer_from_sentencepiece(
            folder / _SENTENCEPIECE,
            added_tokens=added,
            adds_bos=config.get("add_bos_token") is not False,
            prefixes_first_only=config.get("legacy") is False,
        )
        content = json.loads(source)
    else:
        raise ModelPackageError(f"{folder} has neither {_TOKENIZER} nor {_SENTENCEPIECE}; the model is not whole.")
    try:
        known = {token for token, _ in _all_tokens(content)}
        # As transformers does: some tools write a new token into its own file only.
        missing = [
            {"id": token_id, **_described(token)} for token_id, token in sorted(added.items()) if token.content not in known
        ]
        # What the trainer cut and padded its texts to; a prompt is to be whole.
        content |= {"truncation": None, "padding": None}
        content["added_tokens"] = sorted([*(content.get("added_tokens") or ()), *missing], key=lambda token: token["id"])
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ModelPackageError(f"{_TOKENIZER} is damaged; download it again.") from error
    return content


def _added_tokens(config: Mapping[str, Any]) -> dict[int, AddedToken]:
    """The tokens that tokenizer_config.json knows, by id."""
    added = config.get("added_tokens_decoder") or {}
    try:
        return {
            int(token_id): AddedToken(
                entry["content"],
                special=entry.get("special", False),
                **{flag: entry[flag] for flag in _FLAGS if flag in entry},
            )
            for token_id, entry in added.items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelPackageError(f"The added_tokens_decoder of {_TOKENIZER_CONFIG} is damaged; download it again.") from error


def _described(token: AddedToken) -> dict[str, Any]:
    return {"content": token.content, "special": token.special, **{flag: getattr(token, flag) for flag in _FLAGS}}


def _all_tokens(content: Mapping[str, Any]) -> list[tuple[str, int]]:
    vocabulary = content["model"]["vocab"]
    if isinstance(vocabulary, dict):
        pairs = [(token, int(token_id)) for token, token_id in vocabulary.items()]
    else:
        pairs = [(entry[0], token_id) for token_id, entry in enumerate(vocabulary)]
    return pairs + [(token["content"], int(token["id"])) for token in content.get("added_tokens") or ()]


def _readable(content: dict[str, Any], rows: int) -> dict[str, Any]:
    """Without the added tokens that the embedding has no row for, such as a padding token of whoever trained the model."""
    kept = [token for token in content["added_tokens"] if token["id"] < rows]
    content = {**content, "added_tokens": kept}
    if (highest := max(token_id for _, token_id in _all_tokens(content))) >= rows:
        raise ModelPackageError(
            f"The tokenizer has {highest + 1} tokens for an embedding of {rows} rows; the files do not belong together."
        )
    return content


def _special_tokens(config: Mapping[str, Any], fallback: Mapping[str, Any]) -> dict[str, str]:
    special = {}
    for role in _ROLES:
        value = config.get(role) or fallback.get(role)
        text = value.get("content") if isinstance(value, dict) else value
        if isinstance(text, str):
            special[role] = text
    return special


def _chat_template(folder: Path, config: Mapping[str, Any]) -> str | None:
    """The template from the first place that has one, in the order of transformers; None for a model that cannot chat."""
    if (folder / _TEMPLATE).exists():
        try:
            return (folder / _TEMPLATE).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelPackageError(f"{folder / _TEMPLATE} cannot be read: {error}.") from error
    found = _object_if_there(folder / _TEMPLATE_JSON).get("chat_template") or config.get("chat_template")
    match found:
        case None | str():
            return found
        case [*templates]:
            named = [entry for entry in templates if isinstance(entry, dict) and entry.get("name") == "default"]
            template = named[-1].get("template") if named else None
            if template is None or isinstance(template, str):
                return template
    raise ModelPackageError(f"The chat template in {_TOKENIZER_CONFIG} is neither a text nor a list of named texts.")


def _object_if_there(path: Path) -> dict[str, Any]:
    return read_json_object(path) if path.exists() else {}
