"""Where each pre-tokenizer divides. The expected places come from the published expressions, run by another engine (Python's
`regex`), one after the other."""

import pytest
from tokenizers import pre_tokenizers

from ai_assistant.provision.pre_tokenizers import PRE_TOKENIZERS

PROBE = "I'LL we've 12345.6€ naïve HTMLParser camelCase _x</s>\r\n\n  if(a==1):/\n日本、мир٣  "
EXPECTED = {
    ("default",): (
        "I|'|LL| we|'|ve| |123|45|.|6|€| naïve| HTMLParser| camelCase| |_|x|</|s|>|\r\n\n | if|(|a|==|1|):/|\n|日本|、|мир|٣|  "
    ),
    ("deepseek-llm",): (
        "I|'|LL| we|'|ve| |1|2|3|4|5|.|6|€| na|ï|ve| HTMLParser| camelCase| _|x|</|s|>|\r|\n|\n| | if|(|a|==|1|):/|\n"
        "|日本|、|мир|٣|  "
    ),
    ("deepseek-coder",): (
        "I|'|LL| we|'|ve| |1|2|3|4|5|.|6|€| naïve| HTMLParser| camelCase| _|x|<|/|s|>|\r|\n|\n| | if|(|a|==|1|):/|\n"
        "|日本|、|мир|٣|  "
    ),
    ("deepseek-v3",): (
        "I|'LL| we|'ve| |123|45|.|6|€| naïve| HTMLParser| camelCase| _|x|</|s|>\r\n\n| | if|(a|==|1|):/\n|日本|、|мир|٣|  "
    ),
    ("deepseek-r1-qwen", "qwen2"): (
        "I|'LL| we|'ve| |1|2|3|4|5|.|6|€| naïve| HTMLParser| camelCase| _|x|</|s|>\r\n\n| | if|(a|==|1|):/\n|日本|、мир|٣|  "
    ),
    ("llama-bpe", "llama3", "llama-v3", "smaug-bpe"): (
        "I|'LL| we|'ve| |123|45|.|6|€| naïve| HTMLParser| camelCase| _|x|</|s|>\r\n\n| | if|(a|==|1|):/\n|日本|、мир|٣|  "
    ),
    ("gpt-2", "mpt", "olmo"): (
        "I|'|LL| we|'ve| 12345|.|6|€| naïve| HTMLParser| camelCase| _|x|</|s|>|\r\n\n | if|(|a|==|1|):/|\n|日本|、|мир|٣|  "
    ),
    ("smollm", "starcoder", "refact"): (
        "I|'|LL| we|'ve| |1|2|3|4|5|.|6|€| naïve| HTMLParser| camelCase| _|x|</|s|>|\r\n\n | if|(|a|==|1|):/|\n|日本|、|мир|٣|  "
    ),
    ("tekken",): (
        "I|'LL| we|'ve| |1|2|3|4|5|.|6|€| naïve| HTMLParser| camel|Case| _|x|</|s|>\r\n\n| | if|(a|==|1|):/\n|日本|、мир|٣|  "
    ),
    ("gpt-4o",): (
        "I'LL| we've| |123|45|.|6|€| naïve| HTMLParser| camel|Case| _|x|</|s|>\r\n\n| | if|(a|==|1|):/\n|日本|、мир|٣|  "
    ),
    ("seed-coder",): (
        "I|'LL| we|'ve| |1|2|3|4|5|.|6|€| naïve| HTMLParser| camelCase| _|x|</|s|>|\r\n\n| | if|(a|==|1|):/|\n|日本|、мир|٣|  "
    ),
}
BY_NAME = {name: places for names, places in EXPECTED.items() for name in names}


def in_byte_letters(text: str) -> str:
    ((spelled, _),) = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text)
    return spelled


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_a_text_is_divided_where_the_published_expressions_divide_it(name: str) -> None:
    found = [piece for piece, _ in PRE_TOKENIZERS[name].pre_tokenizer().pre_tokenize_str(PROBE)]
    assert found == [in_byte_letters(piece) for piece in BY_NAME[name].split("|")]


def test_falcon_divides_at_byte_letters_that_look_like_numbers() -> None:
    found = [piece for piece, _ in PRE_TOKENIZERS["falcon"].pre_tokenizer().pre_tokenize_str("a 12345 x2, м!=_")]
    # м is spelled Ð¼, and ¼ is a number.
    assert found == ["a", "Ġ", "123", "45", "Ġx", "2", ",", "ĠÐ", "¼", "!=_"]


def test_every_name_is_checked_here() -> None:
    assert set(PRE_TOKENIZERS) == {*BY_NAME, "falcon"}


@pytest.mark.parametrize("name", sorted(PRE_TOKENIZERS))
def test_no_character_is_lost(name: str) -> None:
    text = PROBE + "".join(map(chr, range(0x20, 0x250))) + "\u0301\u2028\ufeff\U0001f469\u200d\U0001f467"
    pieces = PRE_TOKENIZERS[name].pre_tokenizer().pre_tokenize_str(text)
    assert "".join(piece for piece, _ in pieces) == in_byte_letters(text)
