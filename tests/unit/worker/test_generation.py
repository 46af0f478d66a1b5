"""One attempt's answer: text from ids, what readers have, and what the database is told."""

import json

import pytest
from tokenizers import pre_tokenizers

from ai_assistant.contracts import FinishReason, StreamEntry, TaskState
from ai_assistant.engine.sequence import FinishReason as EngineReason
from ai_assistant.engine.step_output import TokenOutput
from ai_assistant.engine.tokenizer import Tokenizer
from ai_assistant.streams import Entry, StreamText, assemble
from ai_assistant.worker.token_generation import TokenGeneration
from worker_tasks import make_task

EOS = 0


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """Bytes and nothing else, so that one character may be several tokens."""
    tokens = ["<|end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    content = {
        "version": "1.0",
        "added_tokens": [{"id": EOS, "content": "<|end|>", **special}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "vocab": {token: index for index, token in enumerate(tokens)}, "merges": []},
    }
    return Tokenizer(json.dumps(content), eos_token_ids=(EOS,))


def push_all(generation: TokenGeneration, ids: list[int]) -> list[Entry]:
    """Push ids and publish after each, as the fastest publisher would."""
    entries = []
    for token_id in ids:
        generation.push(TokenOutput(generation.seq_id, token_id, None))
        entry = generation.unpublished()
        if entry is not None:
            entries.append(entry)
            generation.mark_published(entry)
    return entries


def test_entries_add_up_to_text_and_ids(tokenizer: Tokenizer) -> None:
    text = "Да 🙂 yes"
    generation = TokenGeneration(make_task(), tokenizer)
    entries = push_all(generation, tokenizer.encode(text))
    assert generation.text == text
    assert all(entry.text and "\ufffd" not in entry.text for entry in entries)
    assert [entry.offset for entry in entries] == [sum(len(item.text) for item in entries[:n]) for n in range(len(entries))]
    assert assemble(entries).text == text
    assert list(assemble(entries).ids) == generation.ids


def test_resumed_text_is_the_same_and_not_published_twice(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("Привет, Anna!")
    for cut in range(len(ids)):
        first = TokenGeneration(make_task(), tokenizer)
        before = assemble(push_all(first, ids[:cut]))
        second = TokenGeneration(make_task(attempt=2), tokenizer)
        second.resume(ids[:cut], published=before)
        assert second.text == first.text
        assert second.unpublished() is None
        entries = push_all(second, ids[cut:])
        assert before.text + "".join(entry.text for entry in entries) == "Привет, Anna!"


def test_a_lost_stream_is_published_from_zero_with_all_ids(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("abcdef")
    generation = TokenGeneration(make_task(), tokenizer)
    push_all(generation, ids[:3])
    generation.publish_again()
    entry = generation.unpublished()
    assert entry == Entry(1, StreamEntry.TOKEN, 0, "abc", tuple(ids[:3]))


def test_what_the_checkpoint_has_beyond_the_stream_is_published(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("abcdef")
    generation = TokenGeneration(make_task(attempt=2), tokenizer)
    generation.resume(ids, published=StreamText("ab", tuple(ids[:2])))
    assert generation.unpublished() == Entry(2, StreamEntry.TOKEN, 2, "cdef", tuple(ids[2:]))


def test_ids_without_visible_text_are_not_lost_from_the_stream(tokenizer: Tokenizer) -> None:
    """Half a character is in the checkpoint and not in the stream: its id must come with the text that it belongs to."""
    ids = tokenizer.encode("aД")
    generation = TokenGeneration(make_task(attempt=2), tokenizer)
    generation.resume(ids[:2], published=StreamText("a", tuple(ids[:1])))
    assert generation.unpublished() is None
    entries = push_all(generation, ids[2:])
    assert entries == [Entry(2, StreamEntry.TOKEN, 1, "Д", tuple(ids[1:]))]


def test_a_stream_of_something_else_is_published_again(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("abc")
    generation = TokenGeneration(make_task(attempt=2), tokenizer)
    generation.resume(ids, published=StreamText("xy", (1, 2)))
    assert generation.unpublished() == Entry(2, StreamEntry.TOKEN, 0, "abc", tuple(ids))


def test_stop_string_ends_and_cuts(tokenizer: Tokenizer) -> None:
    generation = TokenGeneration(make_task(sampling={"max_tokens": 100, "seed": 1, "stop": ["END"]}), tokenizer)
    ids = tokenizer.encode("good END bad")
    told = [generation.push(TokenOutput(generation.seq_id, token_id, None)) for token_id in ids]
    assert generation.text == "good "
    assert told.count(True) == 1
    assert generation.outcome().state is TaskState.SUCCEEDED
    assert tokenizer.decode(generation.outcome().ids) == "good END"
    resumed = TokenGeneration(make_task(attempt=2, sampling={"max_tokens": 100, "seed": 1, "stop": ["END"]}), tokenizer)
    resumed.resume(generation.ids, published=StreamText())
    assert resumed.ended.is_set()
    assert resumed.text == "good "


def test_ends(tokenizer: Tokenizer) -> None:
    expected = {
        EngineReason.STOP: (TaskState.SUCCEEDED, None),
        EngineReason.LENGTH: (TaskState.SUCCEEDED, None),
        EngineReason.CANCELLED: (TaskState.CANCELLED, None),
        EngineReason.DEADLINE: (TaskState.EXPIRED, "deadline_exceeded"),
    }
    for reason, (state, code) in expected.items():
        generation = TokenGeneration(make_task(), tokenizer)
        push_all(generation, tokenizer.encode("abc"))
        generation.push(TokenOutput(generation.seq_id, EOS if reason is EngineReason.STOP else None, reason))
        outcome = generation.outcome()
        assert (outcome.state, (outcome.error or {}).get("code")) == (state, code)
        assert outcome.finish_reason == FinishReason(reason.value)
        assert outcome.text == "abc"


def test_nothing_is_told_of_a_lost_attempt(tokenizer: Tokenizer) -> None:
    generation = TokenGeneration(make_task(), tokenizer)
    push_all(generation, tokenizer.encode("ab"))
    generation.push(TokenOutput(generation.seq_id, tokenizer.encode("c")[0], None))
    generation.lose()
    assert generation.unpublished() is None


def test_nul_cannot_be_stored(tokenizer: Tokenizer) -> None:
    generation = TokenGeneration(make_task(), tokenizer)
    push_all(generation, tokenizer.encode("a\x00b"))
    assert generation.text == "a\ufffdb"
