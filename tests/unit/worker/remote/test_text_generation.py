"""However often an answer begins anew, and whatever becomes of its entries on the way: readers end with the last answer."""

import random

import pytest

from ai_assistant.contracts import FinishReason, StreamEntry
from ai_assistant.gateway.stream_reader import StreamReader
from ai_assistant.streams import Entry, assemble
from ai_assistant.worker.remote.reply import Piece
from ai_assistant.worker.remote.text_generation import TextGeneration
from worker_tasks import make_task


class Stream:
    """Redis as a publisher sees it: entries arrive, arrive without a word, get lost, or everything is lost."""

    def __init__(self, luck: random.Random) -> None:
        self.luck = luck
        self.entries: list[Entry] = []

    def publish(self, generation: TextGeneration, *, during: str = "") -> None:
        """One entry; `during` arrives from the server while it is on its way."""
        entry = generation.unpublished()
        if during:
            generation.push(Piece(during))
        if entry is None:
            return
        fate = self.luck.random()
        if fate < 0.05:
            self.entries.clear()
        if entry.offset > 0 and not self.entries:
            generation.publish_again()
            return
        if fate > 0.1:
            self.entries.append(entry)
        if 0.05 <= fate < 0.2:
            generation.publish_again()
        elif fate >= 0.2:
            generation.mark_published(entry)


@pytest.mark.parametrize("seed", range(60))
def test_readers_end_with_the_last_answer(seed: int) -> None:
    luck = random.Random(seed)
    stream = Stream(luck)
    common = "".join(luck.choice("ab") for _ in range(luck.randrange(12)))
    answers = [common + "".join(luck.choice("ab") for _ in range(luck.randrange(12))) for _ in range(3)]
    saved = ""
    for attempt, tries in enumerate(([answers[0]], answers[1:]), start=1):
        task = make_task(attempt=attempt, checkpoint_text=saved, tokenizer="remote")
        generation = TextGeneration(task)
        if attempt > 1:
            stream.entries.append(Entry(attempt, StreamEntry.FENCE, 0))
            generation.resume(assemble(stream.entries))
        for answer in tries:
            generation.restart()
            for character in answer:
                if luck.random() < 0.5:
                    stream.publish(generation, during=character)
                else:
                    generation.push(Piece(character))
        saved = generation.text[: luck.randrange(len(generation.text) + 1)]
    generation.end(FinishReason.STOP)
    for _ in range(50):
        stream.publish(generation)
    assert generation.unpublished() is None
    assert generation.text == answers[-1]
    assert assemble(stream.entries).text == answers[-1]
    reader = StreamReader(attempt=1)
    reader.feed(stream.entries)
    if reader.gap:
        reader.feed_all(stream.entries)
    assert reader.text == answers[-1]


@pytest.mark.parametrize("reason", [FinishReason.CANCELLED, FinishReason.DEADLINE, FinishReason.ERROR])
def test_an_answer_that_is_cut_short_keeps_the_longer_text(reason: FinishReason) -> None:
    generation = TextGeneration(make_task(attempt=2, checkpoint_text="a long text"))
    generation.resume(assemble([]))
    generation.push(Piece("a lo"))
    generation.end(reason)
    assert generation.text == "a long text"
    assert generation.completion_tokens == 3


def test_a_stop_string_that_does_not_come_is_text() -> None:
    generation = TextGeneration(make_task(sampling={"max_tokens": 9, "seed": 1, "stop": ["STOP"]}))
    generation.push(Piece("one ST"))
    assert generation.text == "one "
    generation.end(FinishReason.STOP)
    assert generation.text == "one ST"
