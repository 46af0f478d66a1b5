"""Answers by a model server that misbehaves, over real HTTP: readers end with one whole answer, or a sentence."""

import asyncio
import logging
import time
from typing import Any

import pytest
from remote_desk import ANSWER, STORY, Desk, eventually
from remote_server import KEY, WORDS, Reply

from ai_assistant.contracts import FinishReason, StreamEntry
from ai_assistant.gateway.stream_reader import StreamReader
from ai_assistant.streams import Entry, StreamText, assemble
from ai_assistant.worker.remote import backend as remote
from ai_assistant.worker.remote.text_generation import TextGeneration
from worker_tasks import make_task


def name_of(value: Any) -> str | None:
    """A short name for a parameter."""
    if not isinstance(value, Reply):
        return None
    return f"{value.fault or value.finish_reason} at {value.at}" if value.status == 200 else str(value.status)


async def test_an_answer_and_its_accounting(desk: Desk) -> None:
    sampling = {"max_tokens": 50, "seed": 2**40 + 7, "temperature": 0.2, "top_p": 1.0, "top_k": 5, "stop": ["END"]}
    generation = await desk.answer(make_task(messages=STORY, sampling=sampling, instructions="Be brief."))
    assert generation.text == ANSWER
    outcome = generation.outcome()
    assert (outcome.state, outcome.prompt_tokens, outcome.completion_tokens) == ("succeeded", 21, len(WORDS))
    assert (outcome.ids, outcome.error) == (None, None)
    (request,) = desk.server.requests
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body == {
        "model": "tiny",
        "messages": [{"role": "system", "content": "Be brief."}, *STORY],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 50,
        "seed": 7,
        "temperature": 0.2,
        "top_k": 5,
        "stop": ["END"],
    }


@pytest.mark.parametrize(
    "first",
    [
        Reply(at=4, fault="drop"),
        Reply(at=0, fault="drop"),
        Reply(at=4, fault="end"),
        Reply(at=4, fault="hang"),
        Reply(at=4, fault="garbage"),
        Reply(at=4, fault="error", error={"message": "CUDA out of memory", "code": 500}),
        Reply(first_delay=5),
        Reply(finish_reason="abort"),
        Reply(status=429, error={"message": "slow down"}, headers={"Retry-After": "0"}),
        Reply(status=500, error={"message": "oops"}),
        Reply(status=503, raw=b"<html>Bad gateway</html>"),
        Reply(raw=b"\x00\xff" * 10_000),
        Reply(raw=b"data: []\n\ndata: 7\n\n"),
        Reply(status=200, streams=True, raw=b"data: {}\n\n"),
    ],
    ids=name_of,
)
async def test_what_passes_is_asked_again(desk: Desk, first: Reply) -> None:
    desk.server.replies.append(first)
    generation = await desk.answer()
    assert (generation.text, generation.outcome().state) == (ANSWER, "succeeded")
    assert generation.completion_tokens == len(WORDS)
    assert len(desk.server.requests) == 2
    assert desk.resets == 0, "the new answer says the same: readers see a pause"


async def test_another_answer_takes_the_place_of_the_broken_one(desk: Desk) -> None:
    desk.server.replies.append(
        Reply(pieces=["The ", "fox ", "stayed ", "where ", "it ", "was, ", "for ever"], at=6, fault="drop")
    )
    generation = await desk.answer()
    assert generation.text == ANSWER
    assert desk.resets == 1
    reset = next(entry for entry in desk.entries if entry.kind is StreamEntry.RESET)
    assert reset.offset == len("The fox ")


async def test_a_shorter_second_answer_leaves_nothing_of_the_first(desk: Desk) -> None:
    desk.server.replies.extend([Reply(at=6, fault="drop"), Reply(pieces=WORDS[:2])])
    generation = await desk.answer()
    assert generation.text == "The fox "
    assert desk.reader.text == "The fox "


async def test_a_storm_ends_with_a_sentence_and_the_text_so_far(desk: Desk) -> None:
    desk.server.replies.append(Reply(at=3, fault="drop"))
    desk.server.reply = Reply(status=500, error={"message": f"the key {KEY} broke something"})
    outcome = (await desk.answer()).outcome()
    assert outcome.state == "failed"
    assert outcome.error == {
        "code": "model_server_failed",
        "message": "The model server broke off the answer again and again; ask again.",
    }
    assert outcome.text == "The fox crossed "
    assert len(desk.server.requests) == remote.MAX_BROKEN


@pytest.mark.parametrize(
    ("reply", "code", "words"),
    [
        (Reply(status=401, error={"message": f"Incorrect API key provided: {KEY}"}), "model_server_refused", "tell the operator"),
        (Reply(status=404, error={"message": "The model `tiny` does not exist"}), "model_server_refused", "tell the operator"),
        (Reply(status=429, error={"message": "pay", "code": "insufficient_quota"}), "model_server_refused", "tell the operator"),
        (Reply(status=307, headers={"Location": "https://elsewhere.example/v1"}), "model_server_refused", "tell the operator"),
        (Reply(status=400, error={"message": "Invalid 'messages'"}), "model_server_refused", "Invalid 'messages'"),
        (Reply(status=429, headers={"Retry-After": "3600"}), "model_server_unavailable", "try again later"),
        (Reply(finish_reason="content_filter"), "content_filtered", "content rules"),
        (Reply(finish_reason="tool_calls", pieces=()), "model_server_refused", "wanted to call a tool"),
    ],
    ids=name_of,
)
async def test_what_does_not_pass_is_said_at_once(
    desk: Desk, caplog: pytest.LogCaptureFixture, reply: Reply, code: str, words: str
) -> None:
    desk.server.reply = reply
    with caplog.at_level(logging.DEBUG):
        outcome = (await desk.answer()).outcome()
    assert outcome.error is not None
    assert (outcome.state, outcome.error["code"]) == ("failed", code)
    assert words in outcome.error["message"]
    assert len(desk.server.requests) == 1
    assert KEY not in outcome.error["message"] + caplog.text


async def test_readiness_says_why_and_recovers(desk: Desk) -> None:
    assert desk.backend.readiness() is None
    desk.server.replies.append(Reply(status=401, error={"message": f"no such key: {KEY}"}))
    await desk.answer()
    problem = desk.backend.readiness()
    assert problem is not None
    assert "AI_ASSISTANT_REMOTE_API_KEY" in problem
    assert KEY not in problem
    await desk.answer()
    assert desk.backend.readiness() is None


async def test_a_server_that_is_away_is_waited_for(desk: Desk) -> None:
    desk.server.stop()
    answering = asyncio.create_task(desk.answer())
    await asyncio.sleep(0.3)
    assert not answering.done()
    desk.server.start()
    assert (await asyncio.wait_for(answering, 10)).text == ANSWER


async def test_a_server_that_stays_away_is_told_at_the_deadline(desk: Desk) -> None:
    desk.server.stop()
    outcome = (await desk.answer(make_task(messages=STORY, seconds_left=0.5))).outcome()
    assert outcome.state == "expired"
    assert outcome.error is not None
    assert outcome.error["code"] == "model_server_unavailable"


async def test_the_deadline_closes_the_connection(desk: Desk) -> None:
    desk.server.reply = Reply(delay=0.2)
    outcome = (await desk.answer(make_task(messages=STORY, seconds_left=0.5))).outcome()
    assert (outcome.state, (outcome.error or {})["code"]) == ("expired", "deadline_exceeded")
    assert ANSWER.startswith(outcome.text)
    assert outcome.text
    assert outcome.completion_tokens > 0
    await eventually(lambda: desk.server.requests[0].left_at is not None)


@pytest.mark.parametrize("how", ["cancel", "leave", "lose"])
async def test_whoever_stops_an_answer_closes_its_connection(desk: Desk, how: str) -> None:
    desk.server.reply = Reply(delay=0.1)
    answering = asyncio.create_task(desk.answer())
    await eventually(lambda: desk.reader.text != "")
    generation = desk.generation
    assert generation is not None
    stopped = time.monotonic()
    {"cancel": lambda: generation.end(FinishReason.CANCELLED), "leave": generation.leave, "lose": generation.lose}[how]()
    await answering
    await eventually(lambda: desk.server.requests[0].left_at is not None)
    assert time.monotonic() - stopped < 1


async def test_the_successor_asks_again_and_readers_keep_what_is_the_same(desk: Desk) -> None:
    for shown in ("The fox crossed ", "The fox swam acr", "", ANSWER + " And then"):
        desk.entries, desk.reader, desk.resets = [], StreamReader(), 0
        first = TextGeneration(make_task(messages=STORY))
        first.text = shown
        if (entry := first.unpublished()) is not None:
            desk.entries.append(entry)
        task = make_task(messages=STORY, attempt=2, checkpoint_text=shown[:5], tokenizer="remote")
        generation = await desk.answer(task, before=assemble(desk.entries))
        assert generation.text == ANSWER
        assert desk.resets == (0 if ANSWER.startswith(shown) else 1)


async def test_a_stream_that_has_something_else_is_voided(desk: Desk) -> None:
    task = make_task(messages=STORY, attempt=2, checkpoint_text="The fox crossed ")
    desk.entries = [Entry(1, StreamEntry.TOKEN, 0, "A cow")]
    generation = await desk.answer(task, before=StreamText("A cow"))
    assert generation.text == ANSWER


async def test_stop_strings_work_whatever_the_server_does(desk: Desk) -> None:
    sampling = {"max_tokens": 50, "seed": 1, "stop": ["a", "b", "c d", "e f", "ver and"]}
    task = make_task(messages=STORY, sampling={**sampling, "stop": ["1", "2", "3", "4", "ver and"]})
    generation = await desk.answer(task)
    assert generation.text == "The fox crossed the ri"
    assert generation.finish_reason is FinishReason.STOP
    assert desk.server.requests[0].body["stop"] == ["1", "2", "3", "4"]


async def test_a_server_that_does_not_stream_or_count(desk: Desk) -> None:
    desk.server.replies.extend([Reply(streams=False), Reply(has_usage=False)])
    whole = await desk.answer()
    assert (whole.text, whole.completion_tokens, whole.prompt_tokens) == (ANSWER, len(WORDS), 21)
    desk.entries, desk.reader = [], StreamReader()
    uncounted = await desk.answer()
    assert (uncounted.text, uncounted.completion_tokens) == (ANSWER, round(len(ANSWER) / 4))
    assert 5 < (uncounted.prompt_tokens or 0) < 60


async def test_thoughts_are_a_sign_of_life_and_not_shown(desk: Desk) -> None:
    desk.server.reply = Reply(thoughts=["hm"] * 6, delay=0.1)
    generation = await desk.answer()
    assert generation.text == ANSWER
    assert len(desk.server.requests) == 1


@pytest.mark.parametrize(
    ("refusal", "gone", "come"),
    [
        ({"message": "Unrecognized request argument supplied: stream_options"}, "stream_options", None),
        (
            {
                "message": "Unsupported parameter: 'max_tokens' is not supported with this model. "
                "Use 'max_completion_tokens' instead.",
                "param": "max_tokens",
                "code": "unsupported_parameter",
            },
            "max_tokens",
            "max_completion_tokens",
        ),
        ({"message": "Unsupported value: 'temperature' does not support 0.2", "param": "temperature"}, "temperature", None),
        ({"message": "This is not a parameter that this server knows.", "param": "top_k"}, "top_k", None),
    ],
)
async def test_what_a_server_does_not_know_is_left_away_from_then_on(
    desk: Desk, refusal: dict[str, str], gone: str, come: str | None
) -> None:
    desk.server.replies.append(Reply(status=400, error=refusal))
    sampling = {"max_tokens": 50, "seed": 1, "temperature": 0.2, "top_k": 3}
    for _ in range(2):
        desk.entries, desk.reader = [], StreamReader()
        assert (await desk.answer(make_task(messages=STORY, sampling=sampling))).text == ANSWER
    bodies = [request.body for request in desk.server.requests]
    assert [gone in body for body in bodies] == [True, False, False]
    if come is not None:
        assert [body.get(come) for body in bodies] == [None, 50, 50]
