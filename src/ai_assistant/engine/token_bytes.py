"""The bytes that each token stands for.

Tokens do not end where characters end, so text can be streamed exactly only from bytes. Two spellings of bytes are in
use: byte-level (GPT-2, SmolLM2, Llama 3, Qwen) writes every byte as one printable letter, byte fallback (Llama 2,
Mistral) writes text as it is, a space as U+2581 and only bytes that are in no token as <0x0A>.
"""

from __future__ import annotations

import re
from typing import Any

from ai_assistant.errors import UnsupportedModelError

_SPACE = "\u2581"
_FALLBACK_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class TokenBytes:
    """Token id to bytes, for one `tokenizer.json`; special tokens have none."""

    def __init__(self, content: dict[str, Any]) -> None:
        decoders = _decoder_steps(content.get("decoder"))
        kinds = {step["type"] for step in decoders}
        self._is_byte_level = "ByteLevel" in kinds
        if not self._is_byte_level and not ("ByteFallback" in kinds or "Metaspace" in kinds):
            raise UnsupportedModelError(
                f"The model's tokenizer decodes by {', '.join(sorted(kinds)) or 'nothing'}; "
                "supported: ByteLevel, ByteFallback, Metaspace."
            )
        self.strips_first_space = any(_strips_space(step) for step in decoders)
        self._letters = _byte_letters()
        vocabulary = content["model"]["vocab"]
        pairs = vocabulary.items() if isinstance(vocabulary, dict) else ((entry[0], i) for i, entry in enumerate(vocabulary))
        self._bytes = {token_id: self._spell(token) for token, token_id in pairs}
        self.special: dict[str, int] = {}
        for added in content.get("added_tokens", ()):
            if added["special"]:
                self.special[added["content"]] = added["id"]
            self._bytes[added["id"]] = b"" if added["special"] else added["content"].encode()

    def __getitem__(self, token_id: int) -> bytes:
        """The bytes of a token; none for an id that names no token (some vocabularies are padded)."""
        return self._bytes.get(token_id, b"")

    def _spell(self, token: str) -> bytes:
        if self._is_byte_level:
            letters = self._letters
            return bytes(letters[c] for c in token) if all(c in letters for c in token) else token.encode()
        if match := _FALLBACK_BYTE.fullmatch(token):
            return bytes([int(match[1], 16)])
        return token.replace(_SPACE, " ").encode()


def _decoder_steps(decoder: dict[str, Any] | None) -> list[dict[str, Any]]:
    if decoder is None:
        return []
    return (
        [step for inner in decoder["decoders"] for step in _decoder_steps(inner)] if decoder["type"] == "Sequence" else [decoder]
    )


def _strips_space(step: dict[str, Any]) -> bool:
    """Whether a decoder drops the space that was put before the text when it was encoded."""
    if step["type"] == "Metaspace":
        return bool(step.get("prepend_scheme", "always") != "never")
    return bool(step["type"] == "Strip" and step["content"] == " " and step["start"] > 0)


def _byte_letters() -> dict[str, int]:
    """GPT-2's spelling of bytes: printable Latin-1 letters stand for themselves, the other 68 bytes are U+0100 onward."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    letters = {chr(byte): byte for byte in printable}
    for offset, byte in enumerate(byte for byte in range(256) if byte not in set(printable)):
        letters[chr(256 + offset)] = byte
    return letters
