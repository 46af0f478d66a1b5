"""What a model server allows, and with which of them a worker starts."""

import asyncio
import json

import pytest
from remote_desk import ANSWER, STORY, Desk, eventually
from remote_server import RemoteServer, Reply

from ai_assistant.errors import ConfigurationError
from ai_assistant.worker.remote import backend as remote
from worker_tasks import make_task

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
