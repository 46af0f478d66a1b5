"""Text to token ids and back, for the tokenizer and chat template of a model package.

Chat markup is only what the chat template writes. Where a message contains the text of a special token, such as
<|im_end|>, that text stays text: otherwise anyone could end their own message and speak as the system.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count, takewhile
from operator import itemgetter
from pathlib import Path

import tokenizers

from ai_assistant.engine.chat_template import TRANSCRIPT_STOPS, TRANSCRIPT_TEMPLATE, ChatTemplate
from ai_assistant.engine.model_package import ModelPackage, load_package
from ai_assistant.engine.token_bytes import TokenBytes
from ai_assistant.errors import InvalidRequestError, ModelPackageError, UnsupportedModelError

_FIRST_PLACEHOLDER = 0xF0000  # a private-use plane, which no chat template writes
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})


class Tokenizer:
    """One model's tokenizer; `digest` names it, so that ids of another tokenizer are never taken for its own.

    A model without a chat template is given a plain transcript; `stop_strings` end its answers.
    """

    stop_strings: tuple[str, ...] = ()

    def __init__(
        self,
        source: str,
        *,
        chat_template: str | None = None,
        special_tokens: Mapping[str, str] | None = None,
        eos_token_ids: Iterable[int] = (),
        vocab_size: int | None = None,
    ) -> None:
        try:
            self._content = json.loads(source)
            self._tokenizer = tokenizers.Tokenizer.from_str(source)
            self.bytes_of = TokenBytes(self._content)
        except UnsupportedModelError:
            raise
        except Exception as error:  # tokenizers raises plain Exception
            raise ModelPackageError(f"The tokenizer of the model package is broken: {error}.") from error
        if chat_template is None:
            self._template = ChatTemplate(TRANSCRIPT_TEMPLATE, {"beginning": self._leading_tokens()})
            self.stop_strings = TRANSCRIPT_STOPS
        else:
            self._template = ChatTemplate(chat_template, special_tokens or {})
        self._plain: tokenizers.Tokenizer | None = None
        self._secret = f"\ue000{secrets.token_hex(16)}\ue001"
        special = sorted(self.bytes_of.special, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, special)) or r"(?!)")
        self.digest = hashlib.sha256(source.encode()).hexdigest()
        self.eos_token_ids = tuple(eos_token_ids)
        self.vocab_size = vocab_size or self._tokenizer.get_vocab_size()

    @classmethod
    def load(cls, folder: Path | str) -> Tokenizer:
        """The tokenizer of the model package in `folder`."""
        return cls.of_package(load_package(folder))

    @classmethod
    def of_package(cls, package: ModelPackage) -> Tokenizer:
        """The tokenizer of a model package that is open already."""
        template = package.chat_template_path
        try:
            source = package.tokenizer_path.read_bytes().decode()
            chat_template = None if template is None else template.read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            raise ModelPackageError(f"The tokenizer files in {package.path} cannot be read: {error}.") from error
        return cls(
            source,
            chat_template=chat_template,
            special_tokens=package.manifest.special_tokens,
            eos_token_ids=package.manifest.eos_token_ids,
            vocab_size=package.manifest.architecture.vocab_size,
        )

    def _leading_tokens(self) -> str:
        """What the tokenizer puts before every text, such as the token of a beginning; a chat template would write it."""
        encoded = self._tokenizer.encode("x", add_special_tokens=True)
        is_special = zip(encoded.tokens, encoded.special_tokens_mask, strict=True)
        return "".join(token for token, _ in takewhile(itemgetter(1), is_special))

    def encode(self, text: str, add_special: bool = False) -> list[int]:
        """Token ids of text in which chat markup counts as markup; `add_special` adds what the tokenizer adds, such as BOS."""
        return list(self._tokenizer.encode(text, add_special_tokens=add_special).ids)

    def encode_plain(self, text: str) -> list[int]:
        """Token ids of text in which chat markup is nothing but text."""
        tokenizer = self._tokenizer if self._special.search(text) is None else self._without_special_tokens()
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, token_ids: Iterable[int], *, skip_special: bool = True) -> str:
        """The text of token ids; bytes that are no character become U+FFFD."""
        names = {token_id: name for name, token_id in self.bytes_of.special.items()} if not skip_special else {}
        parts = (names[i].encode() if i in names else self.bytes_of[i] for i in token_ids)
        text = b"".join(parts).decode("utf-8", errors="replace")
        return text.removeprefix(" ") if self.bytes_of.strips_first_space else text

    def render_chat(self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = True) -> str:
        """The chat as the model's template writes it, for people; `encode_chat` is what a model gets."""
        for message in messages:
            if message["role"] not in _ROLES:
                raise InvalidRequestError(f"{message['role']!r} is not a role; roles are {', '.join(sorted(_ROLES))}.")
        return self._template.render(messages, add_generation_prompt=add_generation_prompt)

    def encode_chat(self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = True) -> list[int]:
        """Token ids of a chat.

        Ordinarily it is encoded as one string. Only when a message spells a special token is that spelling hidden from
        the template behind a private-use character, and the stretch of text around it encoded by a tokenizer that knows
        no special tokens.
        """
        found = {match for message in messages for match in self._special.findall(message["content"])}
        if not found:
            return self.encode(self.render_chat(messages, add_generation_prompt))
        hidden = dict(zip(sorted(found), _unused_characters(messages), strict=False))
        hide = re.compile("|".join(re.escape(text) for text in sorted(hidden, key=len, reverse=True)))
        safe = [{**message, "content": hide.sub(lambda m: hidden[m[0]], message["content"])} for message in messages]
        return list(self._encode_with_hidden(self.render_chat(safe, add_generation_prompt), hidden))

    def _encode_with_hidden(self, rendered: str, hidden: Mapping[str, str]) -> Iterator[int]:
        # Tokenizers split a text at special tokens before anything else, so encoding the stretches between them one by
        # one is exact. Some put a space before the first stretch only, so the others follow a token here too.
        shown = str.maketrans({character: text for text, character in hidden.items()})
        start = 0
        for match in self._special.finditer(rendered):
            yield from self._encode_stretch(rendered[start : match.start()].translate(shown), is_first=start == 0)
            yield self.bytes_of.special[match[0]]
            start = match.end()
        yield from self._encode_stretch(rendered[start:].translate(shown), is_first=start == 0)

    def _encode_stretch(self, text: str, *, is_first: bool) -> list[int]:
        if is_first:
            return self.encode_plain(text)
        return list(self._without_special_tokens().encode(self._secret + text, add_special_tokens=False).ids[1:])

    def _without_special_tokens(self) -> tokenizers.Tokenizer:
        """The same tokenizer with special tokens that nobody can spell; made when first needed, for it takes a moment."""
        if self._plain is None:
            special, secret = self.bytes_of.special, self._secret
            model = dict(self._content["model"])
            if isinstance(model["vocab"], dict):
                model["vocab"] = {secret + name if name in special else name: i for name, i in model["vocab"].items()}
            else:
                model["vocab"] = [[secret + name if name in special else name, score] for name, score in model["vocab"]]
            if model.get("unk_token") in special:
                model["unk_token"] = secret + model["unk_token"]
            kept = [token for token in self._content.get("added_tokens", ()) if not token["special"]]
            plain = {**self._content, "model": model, "added_tokens": kept, "post_processor": None}
            self._plain = tokenizers.Tokenizer.from_str(json.dumps(plain))
            self._plain.add_special_tokens([tokenizers.AddedToken(secret, normalized=False)])
        return self._plain


def _unused_characters(messages: Sequence[Mapping[str, str]]) -> Iterator[str]:
    used = {character for message in messages for character in message["content"]}
    return (character for character in map(chr, count(_FIRST_PLACEHOLDER)) if character not in used)
