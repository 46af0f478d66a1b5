import random

import pytest

from ai_assistant.engine.detokenizer import Detokenizer
from ai_assistant.engine.stop_strings import StopStrings
from ai_assistant.engine.text_stream import TextStream
from ai_assistant.engine.tokenizer import Tokenizer

TEXTS = ["hello world", "Привет, мир! Ёж № 7", "日本語", "👩‍👩‍👧 🙂🇺🇦", "naïve\u0301\n\t  x", "�", ""]


@pytest.mark.parametrize("text", TEXTS)
def test_every_piece_is_whole_characters_and_together_they_are_the_text(tokenizer: Tokenizer, text: str) -> None:
    detokenizer, token_ids = Detokenizer(tokenizer), tokenizer.encode(text)
    pieces = [detokenizer.push(token_id) for token_id in token_ids]
    assert "".join(pieces) == text
    assert detokenizer.flush() == ""
    if "�" not in text:
        assert not any("�" in piece for piece in pieces)


def test_an_emoji_appears_with_its_last_byte(tokenizer: Tokenizer) -> None:
    detokenizer = Detokenizer(tokenizer)
    assert [detokenizer.push(token_id) for token_id in tokenizer.encode("🙂")] == ["", "", "", "🙂"]


def test_bytes_that_are_no_character_are_marked_once_that_is_certain(tokenizer: Tokenizer) -> None:
    unfinished = tokenizer.encode("🙂")[:2]
    detokenizer = Detokenizer(tokenizer)
    assert [detokenizer.push(token_id) for token_id in unfinished] == ["", ""]
    assert detokenizer.push(*tokenizer.encode("x")) == "�x"
    assert [detokenizer.push(token_id) for token_id in unfinished] == ["", ""]
    assert detokenizer.flush() == "�"


def test_special_tokens_have_no_text(tokenizer: Tokenizer) -> None:
    detokenizer = Detokenizer(tokenizer)
    assert "".join(map(detokenizer.push, tokenizer.encode("a<|im_end|>b"))) == "ab"


def test_random_bytes_stream_as_they_decode_at_once(tokenizer: Tokenizer) -> None:
    rng = random.Random(0)
    for _ in range(300):
        token_ids = [rng.randrange(3, tokenizer.vocab_size) for _ in range(rng.randrange(12))]
        stream = TextStream(tokenizer)
        text = "".join(map(stream.push, token_ids)) + stream.finish()
        assert text == stream.text == tokenizer.decode(token_ids) == tokenizer._tokenizer.decode(token_ids)


@pytest.mark.parametrize(
    ("text", "stops", "shown", "found"),
    [
        ("hello world", ["o w"], "hell", True),
        ("hello world", ["xyz"], "hello world", False),
        ("hello wor", ["world"], "hello wor", False),
        ("aab", ["ab"], "a", True),
        ("abcd", ["abcd", "bc"], "a", True),
        ("abcd", ["cd", "bcd"], "a", True),
        ("🙂END", ["END"], "🙂", True),
        ("ENDx", ["END"], "", True),
        ("Привет", ["ив"], "Пр", True),
    ],
)
def test_stop_strings_in_any_pieces(text: str, stops: list[str], shown: str, found: bool) -> None:
    for size in range(1, len(text) + 1):
        stop_strings = StopStrings(stops)
        pieces = [stop_strings.push(text[start : start + size]) for start in range(0, len(text), size)]
        assert ("".join(pieces) + stop_strings.finish(), stop_strings.is_found) == (shown, found), size


def test_what_may_become_a_stop_string_is_held_back() -> None:
    stop_strings = StopStrings(["world"])
    assert stop_strings.push("hello wo") == "hello "
    assert stop_strings.push("rx") == "worx"
    assert stop_strings.push("wor") == ""
    assert stop_strings.finish() == "wor"


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        StopStrings([""])


def test_a_stream_stops_across_tokens_and_stays_stopped(tokenizer: Tokenizer) -> None:
    stream = TextStream(tokenizer, ["🙂 w"])
    token_ids = tokenizer.encode("hello 🙂 world")
    shown = "".join(map(stream.push, token_ids)) + stream.finish()
    assert stream.stopped
    assert shown == stream.text == "hello "


def test_the_same_ids_again_give_the_same_text(tokenizer: Tokenizer) -> None:
    token_ids = tokenizer.encode("Привет 🙂 STO STOP all")
    for known in range(len(token_ids)):
        first, second = (TextStream(tokenizer, ["STOP"]) for _ in range(2))
        before = [first.push(token_id) for token_id in token_ids]
        again = [second.push(token_id) for token_id in token_ids[:known]]
        assert before[:known] == again
        assert second.text == "".join(before[:known])


def test_an_end_inside_a_character_and_a_possible_stop_is_flushed(tokenizer: Tokenizer) -> None:
    stream = TextStream(tokenizer, ["STOP"])
    pushed = "".join(map(stream.push, [*tokenizer.encode("ST"), tokenizer.encode("🙂")[0]]))
    assert (pushed, stream.finish(), stream.text) == ("", "ST�", "ST�")
