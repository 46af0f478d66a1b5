r"""How byte-level BPE tokenizers divide a text before they merge, by the names that GGUF gives them.

GGUF carries only a name; these are the definitions in the `tokenizer.json` of the models the names stand for. A name
whose original is not known exactly is missing here on purpose: `gigachat` or `pixtral` are other tokenizers that only
happen to agree with one of these on the text that the converter tells them apart by.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import Regex, normalizers, pre_tokenizers

_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SYMBOLS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_WHITESPACE = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"{_CONTRACTIONS}|{_LETTERS}|\p{{N}}{{1,3}}|{_SYMBOLS}|{_WHITESPACE}"
_QWEN2 = rf"{_CONTRACTIONS}|{_LETTERS}|\p{{N}}|{_SYMBOLS}|{_WHITESPACE}"
_SEED_CODER = rf"{_CONTRACTIONS}|{_LETTERS}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_WHITESPACE}"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
    rf"|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_WHITESPACE}"
)
_GPT4O = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTIONS}?|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTIONS}?"
    rf"|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_WHITESPACE}"
)
_DEEPSEEK_V3 = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
    rf"|{_WHITESPACE}"
)
_DEEPSEEK_CJK = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
# The letters that the tokenizer lists one by one: most of the scripts with cases.
_DEEPSEEK_LETTERS = re.sub(
    r"(\w+)\s*",
    r"\\x{\1}",
    """0041-005A 0061-007A 00B5 00C0-00D6 00D8-00F6 00F8-01BA 01BC-01BF 01C4-0293 0295-02AF 0370-0373 0376 0377 037B-037D
       037F 0386 0388-038A 038C 038E-03A1 03A3-03F5 03F7-0481 048A-052F 0531-0556 10A0-10C5 13A0-13F5 13F8-13FD 1C90-1CBA
       1CBD-1CBF 1D00-1D2B 1D6B-1D77 1D79-1D9A 1E00-1F15 1F18-1F1D 1F20-1F45 1F48-1F4D 1F50-1F57 1F59 1F5B 1F5D 1F5F-1F7D
       1F80-1FB4 1FB6-1FBC 1FBE 1FC2-1FC4 1FC6-1FCC 1FD0-1FD3 1FD6-1FDB 1FE0-1FEC 1FF2-1FF4 1FF6-1FFC 2102 2107 210A-2113
       2115 2119-211D 2124 2126 2128 212A-212D 212F-2134 2139 213C-213F 2145-2149 214E 2183 2184 2C00-2C7B 2C7E-2CE4
       2CEB-2CEE 2CF2 2CF3 A640-A66D A680-A69B A722-A76F A771-A787 A78B-A78E AB70-ABBF FB00-FB06 FB13-FB17 FF21-FF3A
       FF41-FF5A 10400-1044F 104B0-104D3 104D8-104FB 10C80-10CB2 10CC0-10CF2 118A0-118DF 1E900-1E943""",
)


@dataclass(frozen=True)
class PreTokenization:
    """What a name stands for; the functions make the parts of a `tokenizers.Tokenizer`.

    `ignore_merges`: a stretch that is a token as it is needs no merges to become one. `adds_bos` holds where the
    metadata does not say.
    """

    pre_tokenizer: Callable[[], Any]
    normalizer: Callable[[], Any] | None = None
    ignore_merges: bool = False
    adds_bos: bool = False


def _bytes(*, divides: bool) -> Any:
    """Spells text in byte letters; `divides` by GPT-2's regular expression first."""
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=divides)


def _at(*patterns: str) -> list[Any]:
    return [pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in patterns]


def _by(*patterns: str) -> Callable[[], Any]:
    return lambda: pre_tokenizers.Sequence([*_at(*patterns), _bytes(divides=False)])


def _gpt2() -> Any:
    return _bytes(divides=True)


def _digits_apart() -> Any:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _gpt2()])


def _deepseek_llm() -> Any:
    first = _at(r"[\r\n]", rf"\s?[{_DEEPSEEK_LETTERS}]+", r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", _DEEPSEEK_CJK)
    return pre_tokenizers.Sequence([*first, pre_tokenizers.Digits(individual_digits=True), _bytes(divides=False)])


def _deepseek_coder() -> Any:
    first = _at(r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _DEEPSEEK_CJK)
    return pre_tokenizers.Sequence([*first, pre_tokenizers.Digits(individual_digits=True), _bytes(divides=False)])


def _falcon() -> Any:
    # Digits come after the spelling in byte letters, some of which are numeric; that is how it was trained.
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Punctuation(behavior="contiguous"),
            _gpt2(),
            pre_tokenizers.Digits(individual_digits=False),
            *_at("[0-9][0-9][0-9]"),
        ]
    )


def _default() -> Any:
    """llama.cpp's own fallback, which has no original."""
    first = _at(r"[\p{P}\$\+<=>\^~\|]+", r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)")
    return pre_tokenizers.Sequence([*first, *_at(r"\p{N}+", "[0-9][0-9][0-9]"), _bytes(divides=False)])


_LLAMA_BPE = PreTokenization(_by(_LLAMA3), ignore_merges=True, adds_bos=True)

PRE_TOKENIZERS: Mapping[str, PreTokenization] = {
    "default": PreTokenization(_default),
    "deepseek-coder": PreTokenization(_deepseek_coder),
    "deepseek-llm": PreTokenization(_deepseek_llm),
    "deepseek-r1-qwen": PreTokenization(_by(_QWEN2), normalizers.NFC),
    "deepseek-v3": PreTokenization(_by(r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", _DEEPSEEK_V3)),
    "falcon": PreTokenization(_falcon),
    "gpt-2": PreTokenization(_gpt2),
    "gpt-4o": PreTokenization(_by(_GPT4O)),
    "llama-bpe": _LLAMA_BPE,
    "llama-v3": _LLAMA_BPE,
    "llama3": _LLAMA_BPE,
    "mpt": PreTokenization(_gpt2, normalizers.NFC),
    "olmo": PreTokenization(_gpt2, normalizers.NFC),
    "qwen2": PreTokenization(_by(_QWEN2), normalizers.NFC),
    "refact": PreTokenization(_digits_apart),
    "seed-coder": PreTokenization(_by(_SEED_CODER)),
    "smaug-bpe": PreTokenization(_by(_LLAMA3), ignore_merges=True),
    "smollm": PreTokenization(_digits_apart),
    "starcoder": PreTokenization(_digits_apart),
    "tekken": PreTokenization(_by(_TEKKEN), ignore_merges=True, adds_bos=True),
}
