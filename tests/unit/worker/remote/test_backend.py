"""Answers by a model server that misbehaves, over real HTTP: readers end with one whole answer, or a sentence."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry
from remote_server import KEY, WORDS, RemoteServer, Reply

from ai_assistant.contracts import FinishReason, StreamEntry
from ai_assistant.errors import AssistantError, ConfigurationError
from ai_assistant.gateway.stream_reader import StreamReader
from ai_assistant.metrics import WorkerMetrics
from ai_assistant.settings import WorkerSettings
from ai_assistant.streams import Entry, StreamText, assemble
from ai_assistant.tasks.claim import ClaimedTask
from ai_assistant.worker.backend import Host
from ai_assistant.worker.remote import backend as remote
from ai_assistant.worker.remote.backend import RemoteBackend
from ai_assistant.worker.remote.text_generation import TextGeneration
from worker_tasks import make_task

ANSWER = "".join(WORDS)
STORY: list[dict[str, str]] = [{"role": "user", "content": "Tell me of the fox."}]


def name_of(value: Any) -> str | None:
    """A short name for a parameter."""
    if not isinstance(value, Reply):
        return None
    return f"{value.fault or value.finish_reason} at {value.at}" if value.status == 200 else str(value.status)


class Desk:
    """A backend, and somebody who reads what it gives as a gateway does."""

    def __init__(self, server: RemoteServer, **settings: Any) -> None:
        given = {"remote_url": server.url, "remote_api_key": KEY, **settings}
        self.server = server
        self.backend = RemoteBackend(WorkerSettings(_env_file=None, **given))  # type: ignore[call-arg]
        self.metrics = WorkerMetrics(CollectorRegistry())
        self.reader = StreamReader()
        self.entries: list[Any] = []
        self.generation: TextGeneration | None = None
        self.resets = 0

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        host = Host(loop, None, self.metrics, "assistant", self.publish, lambda _: None)  # type: ignore[arg-type]
        await asyncio.to_thread(self.backend.start, host)

    def publish(self) -> None:
        """As fast as the fastest publisher."""
        assert self.generation is not None
        while (entry := self.generation.unpublished()) is not None:
            self.generation.mark_published(entry)
            self.entries.append(entry)
            self.resets += entry.kind is StreamEntry.RESET
            self.reader.feed([entry])

    async def answer(self, task: ClaimedTask | None = None, before: StreamText | None = None) -> TextGeneration:
        """What TaskRunner does."""
        self.generation = generation = self.backend.begin(task or make_task(messages=STORY))
        if before is not None:
            self.reader.feed(self.entries)
            self.backend.resume(generation, before)
        try:
            await self.backend.answer(generation)
        except AssistantError as error:
            generation.end(FinishReason.ERROR, error)
        self.publish()
        # the row has the last word; after a success it must be nothing new
        if generation.finish_reason in (FinishReason.STOP, FinishReason.LENGTH):
            assert self.reader.text == generation.text
            assert assemble(self.entries).text == generation.text
        return generation


@pytest_asyncio.fixture
async def desk(remote_server: RemoteServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.01)
    made = Desk(remote_server, remote_first_token_seconds=0.4, remote_token_seconds=0.4)
    await made.open()
    yield made
    await asyncio.to_thread(made.backend.close)


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


CONTEXT = {"message": "This model's maximum context length is 512 tokens. However, you requested 900 tokens", "code": 400}


async def test_a_conversation_that_is_too_long_loses_its_oldest_turns(desk: Desk) -> None:
    line = [{"role": role, "content": f"{role} {turn} " + "word " * 40} for turn in range(8) for role in ("user", "assistant")]
    line.append({"role": "user", "content": "And now?"})
    desk.server.replies.extend([Reply(status=400, error=CONTEXT)] * 2)
    sampling = {"max_tokens": 20, "seed": 1}
    assert (await desk.answer(make_task(messages=line, sampling=sampling))).text == ANSWER
    sizes = [len(request.body["messages"]) for request in desk.server.requests]
    assert sizes[0] == 17
    assert sizes[0] > sizes[1] > sizes[2]
    assert all(request.body["messages"][-1]["content"] == "And now?" for request in desk.server.requests)


async def test_a_message_that_is_too_long_is_the_users_error(desk: Desk) -> None:
    desk.server.reply = Reply(status=400, error=CONTEXT)
    task = make_task(messages=[{"role": "user", "content": "word " * 2000}], sampling={"max_tokens": 20, "seed": 1})
    outcome = (await desk.answer(task)).outcome()
    assert (outcome.error or {})["code"] == "prompt_too_long"


async def test_an_answer_that_may_not_be_that_long_is_asked_for_shorter(desk: Desk) -> None:
    desk.server.replies.append(Reply(status=400, error=CONTEXT))
    assert (await desk.answer(make_task(messages=STORY, sampling={"max_tokens": 800, "seed": 1}))).text == ANSWER
    assert [request.body["max_tokens"] for request in desk.server.requests] == [800, 400]


async def test_what_the_server_tells_of_its_context_is_kept_to(remote_server: RemoteServer) -> None:
    remote_server.model_fields = {"max_model_len": 400}
    desk = Desk(remote_server)
    await desk.open()
    line = [{"role": role, "content": "word " * 40} for _ in range(8) for role in ("user", "assistant")]
    await desk.answer(make_task(messages=[*line, *STORY]))
    assert len(remote_server.requests[0].body["messages"]) < 8
    await asyncio.to_thread(desk.backend.close)


async def test_halves_of_a_character_and_nul_become_text_that_can_be_stored(desk: Desk) -> None:
    desk.server.reply = Reply(pieces=["a\ud83d", "\ude42b\x00", "\udc00c", "\ud83d"])
    assert (await desk.answer()).text == "a🙂b\ufffd\ufffdc\ufffd"


async def test_log_probabilities_are_passed_on(desk: Desk) -> None:
    item = {"token": "Hi", "logprob": -0.1, "bytes": [72, 105], "top_logprobs": []}
    choice = {"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop", "logprobs": {"content": [item]}}
    desk.server.reply = Reply(raw=json.dumps({"choices": [choice]}).encode())
    generation = await desk.answer(make_task(messages=STORY, sampling={"max_tokens": 5, "seed": 1, "logprobs": 2}))
    assert generation.outcome().logprobs == [item]
    assert (desk.server.requests[0].body["logprobs"], desk.server.requests[0].body["top_logprobs"]) == (True, 2)


@pytest.mark.parametrize(
    ("models", "wanted", "chosen"),
    [(["only"], None, "only"), (["a", "b"], "b", "b"), (["a"], "unlisted", "unlisted"), ([], "named", "named")],
)
async def test_the_model_that_is_asked(remote_server: RemoteServer, models: list[str], wanted: str | None, chosen: str) -> None:
    remote_server.models = models
    desk = Desk(remote_server, remote_model=wanted)
    await desk.open()
    await desk.answer()
    assert remote_server.requests[0].body["model"] == chosen
    await asyncio.to_thread(desk.backend.close)


@pytest.mark.parametrize(
    ("models", "status", "sentence"),
    [
        (["b", "a"], 200, "several models: set AI_ASSISTANT_REMOTE_MODEL to one of a, b."),
        ([], 200, "lists no models: set AI_ASSISTANT_REMOTE_MODEL"),
        ([], 404, "lists no models: set AI_ASSISTANT_REMOTE_MODEL"),
        (["a"], 401, "check AI_ASSISTANT_REMOTE_API_KEY"),
    ],
)
async def test_what_cannot_work_ends_the_start(
    remote_server: RemoteServer, models: list[str], status: int, sentence: str
) -> None:
    remote_server.models, remote_server.models_status = models, status
    desk = Desk(remote_server)
    with pytest.raises(ConfigurationError, match="model server") as caught:
        await desk.open()
    assert sentence in caught.value.message
    await asyncio.to_thread(desk.backend.close)


async def test_a_start_waits_for_a_server_that_is_away(remote_server: RemoteServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.05)
    remote_server.stop()
    desk = Desk(remote_server)
    opening = asyncio.create_task(desk.open())
    await eventually(lambda: "no connection" in (desk.backend.readiness() or ""))
    remote_server.start()
    await asyncio.wait_for(opening, 10)
    assert desk.backend.readiness() is None
    await asyncio.to_thread(desk.backend.close)


async def eventually(holds: Any) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.005)
