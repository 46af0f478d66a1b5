"""StreamReader: each code point once and in order, whatever the stream repeats, loses or takes back."""

import random

import pytest

from ai_assistant.contracts import StreamEntry
from ai_assistant.gateway.stream_events import ResetEvent, TokenEvent
from ai_assistant.gateway.stream_reader import MAX_OFFSET, UNKNOWN, VOID, StreamReader, common_prefix
from ai_assistant.streams import Entry


def t(attempt: int, offset: int, text: str) -> Entry:
    return Entry(attempt, StreamEntry.TOKEN, offset, text)


def fence(attempt: int) -> Entry:
    return Entry(attempt, StreamEntry.FENCE, 0)


def reset(attempt: int, offset: int) -> Entry:
    return Entry(attempt, StreamEntry.RESET, offset)


class Client:
    """Does what a client is asked to do with events."""

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.resets = 0

    def take(self, reader: StreamReader) -> None:
        for event in reader.take():
            if isinstance(event, ResetEvent):
                assert event.offset <= len(self.text)
                self.text = self.text[: event.offset]
                self.resets += 1
            else:
                assert isinstance(event, TokenEvent)
                assert event.text
                assert UNKNOWN not in event.text
                assert VOID not in event.text
                assert event.offset == len(self.text), "tokens are gapless, sorted and do not overlap"
                self.text += event.text


LIVE = [
    ("in order", [t(1, 0, "one "), t(1, 4, "two")], "one two", 0, False),
    ("repeated", [t(1, 0, "one "), t(1, 0, "one "), t(1, 0, "one two")], "one two", 0, False),
    ("overlap", [t(1, 0, "one "), t(1, 2, "e two")], "one two", 0, False),
    ("inside what is known", [t(1, 0, "one two"), t(1, 1, "ne")], "one two", 0, False),
    ("code points", [t(1, 0, "a😀"), t(1, 2, "é"), t(1, 3, "ж")], "a😀éж", 0, False),
    ("gap", [t(1, 0, "one "), t(1, 7, " three")], "one ", 0, True),
    ("gap closed", [t(1, 0, "one "), t(1, 7, " three"), t(1, 0, "one two three")], "one two three", 0, True),
    ("fence shuts out lower attempts", [t(1, 0, "one "), fence(2), t(1, 4, "zombie"), t(2, 4, "two")], "one two", 0, True),
    ("fence is no restart", [t(1, 0, "one "), fence(2), t(2, 4, "two")], "one two", 0, False),
    ("explicit reset", [t(1, 0, "one two"), fence(2), reset(2, 4), t(2, 4, "2")], "one 2", 1, False),
    ("reset before what is known", [t(1, 0, "one"), reset(1, 9)], "one", 0, True),
    ("different overlap", [t(1, 0, "one two"), fence(2), t(2, 0, "one more")], "one more", 1, False),
    ("reset that changes nothing", [t(1, 0, "one two"), reset(1, 4), t(1, 4, "two")], "one two", 1, False),
]


@pytest.mark.parametrize(("entries", "text", "resets", "gap"), [row[1:] for row in LIVE], ids=[row[0] for row in LIVE])
def test_live(entries: list[Entry], text: str, resets: int, gap: bool) -> None:
    reader, client = StreamReader(), Client()
    for entry in entries:
        reader.feed([entry])
        client.take(reader)
    assert (client.text, client.resets, reader.gap) == (text, resets, gap)


@pytest.mark.parametrize(("entries", "text", "gap"), [(row[1], row[2], row[4]) for row in LIVE], ids=[row[0] for row in LIVE])
def test_one_batch_tells_no_detours(entries: list[Entry], text: str, gap: bool) -> None:
    reader, client = StreamReader(), Client()
    reader.feed_all(entries)
    client.take(reader)
    assert (client.text, client.resets) == (text, 0)
    assert reader.gap == gap


def test_reading_again_from_the_start_changes_nothing() -> None:
    entries = [t(1, 0, "one two"), fence(2), reset(2, 4), t(2, 4, "2 and 3")]
    reader, client = StreamReader(), Client()
    for entry in entries:
        reader.feed([entry])
        client.take(reader)
    resets = client.resets
    for _ in range(3):
        reader.feed_all(entries)
        client.take(reader)
    assert (client.text, client.resets) == ("one 2 and 3", resets)


def test_reading_again_a_shorter_stream_keeps_what_was_told() -> None:
    reader, client = StreamReader(), Client()
    reader.feed([t(1, 0, "one two")])
    reader.feed_all([t(1, 0, "one")])
    client.take(reader)
    assert client.text == "one two"


@pytest.mark.parametrize("cut", range(8))
def test_resumes_anywhere(cut: int) -> None:
    reader, client = StreamReader(cut), Client("one two"[:cut])
    reader.feed_all([t(1, 0, "on"), t(1, 2, "e tw"), t(1, 6, "o")])
    client.take(reader)
    assert (client.text, client.resets) == ("one two", 0)


def test_resumes_before_the_source_has_as_much() -> None:
    reader, client = StreamReader(5), Client("one t")
    reader.checkpoint("one", 1)
    client.take(reader)
    reader.feed([t(1, 0, "one two")])
    client.take(reader)
    assert (client.text, client.resets) == ("one two", 0)


def test_resumes_on_text_that_was_regenerated_meanwhile() -> None:
    reader, client = StreamReader(6), Client("one tw")
    reader.feed_all([t(1, 0, "one two"), fence(2), reset(2, 4), t(2, 4, "2 and 3")])
    client.take(reader)
    assert client.text == "one 2 and 3"


def test_resumes_then_learns_of_a_regeneration() -> None:
    reader, client = StreamReader(6), Client("one tw")
    reader.checkpoint("one two", 1)
    client.take(reader)
    reader.feed([fence(2), t(2, 0, "one 2 and 3")])
    client.take(reader)
    assert (client.text, client.resets) == ("one 2 and 3", 1)


def test_a_client_that_claims_too_much_starts_again() -> None:
    for offset in (9, MAX_OFFSET + 1):
        reader = StreamReader(offset)
        reader.finish("one two")
        assert reader.take() == [ResetEvent(0), TokenEvent(0, "one two")]


def test_the_rows_attempt_drops_lower_ones_until_their_successor_shows() -> None:
    reader, client = StreamReader(), Client()
    reader.raise_attempt(2)
    before = [t(1, 0, "one ")]
    reader.feed_all(before)
    client.take(reader)
    assert client.text == ""
    reader.feed([fence(2)])
    assert reader.gap, "what was passed over counts, up to the fence"
    reader.feed_all([*before, fence(2)])
    client.take(reader)
    assert client.text == "one "


def test_a_lost_worker_that_publishes_again_after_flushall_is_not_heard() -> None:
    reader, client = StreamReader(), Client()
    reader.feed([t(1, 0, "one "), fence(2), t(2, 4, "two")])
    client.take(reader)
    zombie = [t(1, 0, "one 2222222")]
    reader.feed(zombie)
    reader.feed_all(zombie)
    client.take(reader)
    reader.feed_all([*zombie, t(2, 20, " later")])
    client.take(reader)
    assert (client.text, client.resets, reader.gap) == ("one two", 0, True)
    reader.checkpoint("one two and much later", 2)
    client.take(reader)
    assert (client.text, client.resets) == ("one two and much later", 0)


def test_checkpoints() -> None:
    reader, client = StreamReader(), Client()
    reader.checkpoint("one two", 1)
    reader.checkpoint("one", 1)
    reader.feed([t(1, 0, "one two th")])
    reader.checkpoint("old text that is long", 0)
    client.take(reader)
    assert (client.text, client.resets) == ("one two th", 0)


def test_the_final_text_is_the_truth() -> None:
    for final, resets in (("one two", 0), ("one two three", 0), ("one 2", 1), ("", 1)):
        reader, client = StreamReader(), Client()
        reader.feed([t(1, 0, "one two")])
        client.take(reader)
        reader.finish(final)
        client.take(reader)
        assert (client.text, client.resets) == (final, resets)


def test_end_is_seen() -> None:
    reader = StreamReader(attempt=2)
    reader.feed([Entry(1, StreamEntry.END, 0)])
    assert not reader.ended
    reader.feed_all([Entry(2, StreamEntry.END, 0)])
    assert reader.ended


def test_common_prefix() -> None:
    for one, other, length in (("", "a", 0), ("abc", "abd", 2), ("abc", "abc", 3), ("abc", "abcd", 3), ("x", "y", 0)):
        assert common_prefix(one, other) == length


@pytest.mark.parametrize("seed", range(300))
def test_random_histories(seed: int) -> None:
    """Workers die, Redis is emptied, readers come and go; with a deterministic answer nobody ever sees a reset."""
    chance = random.Random(seed)
    deterministic = seed % 2 == 0
    answer = "".join(chance.choice("abc дж😀\n") for _ in range(chance.randint(1, 120)))
    stream: list[Entry] = []
    attempt, position, checkpoint, row_attempt = 1, 0, "", 1
    start = chance.randint(0, 3)
    readers = [(StreamReader(), Client(), [0]) for _ in range(3)]
    republish = False
    reconnected = set()

    def visit(reader: StreamReader, seen: list[int], *, from_start: bool) -> None:
        if from_start or reader.gap or seen[0] > len(stream):
            reader.feed_all(stream)
        else:
            reader.feed(stream[seen[0] :])
        seen[0] = len(stream)

    for _ in range(400):
        action = chance.random()
        if action < 0.5 and position < len(answer):  # the worker goes on
            size = chance.randint(1, 6)
            if republish or not stream:
                stream.append(t(attempt, 0, answer[:position]))
                republish = False
            stream.append(t(attempt, position, answer[position : position + size]))
            position = min(len(answer), position + size)
        elif action < 0.6:
            checkpoint, row_attempt = answer[:position], attempt
        elif action < 0.63 and stream:  # FLUSHALL
            stream.clear()
            for *_, seen in readers:
                seen[0] = 10**9
            republish = True
        elif action < 0.66:  # the worker dies, its successor goes on from what it finds
            kept = "" if republish or not stream else answer[:position]
            base = max(kept, checkpoint, key=len) if chance.random() < 0.8 or deterministic else ""
            attempt += 1
            row_attempt = attempt
            stream.append(fence(attempt))
            if not deterministic:
                if len(base) < position:
                    stream.append(reset(attempt, len(base)))
                rest = "".join(chance.choice("xyz") for _ in range(chance.randint(1, 60)))
                answer = base + rest
            position = len(base)
            republish = republish or kept != base
        elif action < 0.68 and attempt > 1 and not stream:  # a lost worker speaks into the emptied stream
            stream.append(t(attempt - 1, 0, answer[:position] if deterministic else "zombie"))
        elif action < 0.72:  # a client reconnects with what it has
            index = chance.randrange(3)
            reconnected.add(index)
            client = readers[index][1]
            readers[index] = (StreamReader(len(client.text), row_attempt), client, [0])
            readers[index][0].checkpoint(checkpoint, row_attempt)
            visit(readers[index][0], readers[index][2], from_start=True)
            client.take(readers[index][0])
        else:
            reader, client, seen = chance.choice(readers)
            visit(reader, seen, from_start=chance.random() < start / 10)
            if chance.random() < 0.2:
                reader.checkpoint(checkpoint, row_attempt)
            if chance.random() < 0.7:
                client.take(reader)
        if deterministic:
            for _, client, _ in readers:
                assert answer.startswith(client.text)
    final = answer[:position]
    for index, (reader, client, _) in enumerate(readers):
        reader.finish(final)
        client.take(reader)
        if deterministic:
            assert client.resets == 0
        # An offset says how much a client has, not what: text that changed while it was away, with every trace of the change
        # lost as well, cannot be told from text that did not.
        assert client.text == final if deterministic or index not in reconnected else len(client.text) == len(final)
