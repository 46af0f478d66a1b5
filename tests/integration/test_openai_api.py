"""/v1 with OpenAI's own SDK, over real connections."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
import pytest
from fake_worker import FakeWorker, default_pieces
from openai import AsyncOpenAI, OpenAI
from servers import Server
from sqlalchemy import select, text

from ai_assistant.database.models import Task
from gateway_app import migrated_database
from gateway_server import Served, served_gateway

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


@pytest.fixture
async def gateway(postgres_url: str, valkey: Server) -> AsyncIterator[Served]:
    valkey.flush()
    async with served_gateway(await migrated_database(postgres_url), valkey.url, api_keys="sdk:secret") as served:
        yield served


@pytest.fixture
async def client(gateway: Served) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(api_key="secret", base_url=f"{gateway.url}/v1", max_retries=0, timeout=20) as client:
        yield client


def worker(gateway: Served, **options: Any) -> FakeWorker:
    return FakeWorker(gateway.state.database, gateway.state.settings.redis_url.get_secret_value(), **options)


async def only_task(gateway: Served) -> Task:
    async with gateway.state.database.session() as session:
        return (await session.scalars(select(Task))).one()


async def final_state(gateway: Served, state: str) -> Task:
    async with asyncio.timeout(5):
        while (task := await only_task(gateway)).state != state:
            await asyncio.sleep(0.02)
    return task


async def test_completion(gateway: Served, client: AsyncOpenAI) -> None:
    async with worker(gateway, seconds_per_piece=0) as fake:
        completion = await client.chat.completions.create(
            model="assistant",
            messages=[
                {"role": "developer", "content": "Be short."},
                {"role": "user", "content": [{"type": "text", "text": "Hello"}, {"type": "text", "text": "there"}]},
                {"role": "assistant", "content": "Hi"},
                {"role": "user", "content": "And?", "name": "ann"},
            ],
            temperature=0.2,
            top_p=0.9,
            max_completion_tokens=30,
            stop=["\n\n\n", "END"],
            seed=-1,
            presence_penalty=0.5,
            frequency_penalty=-0.5,
            user="someone",
            store=False,
            metadata={"a": "b"},
            n=1,
            response_format={"type": "text"},
        )
        expected = "".join(fake.pieces(fake.claimed[0]))
    task = await only_task(gateway)
    assert completion.id == f"chatcmpl-{task.id}"
    assert completion.object == "chat.completion"
    assert completion.model == "assistant"
    assert completion.choices[0].message.role == "assistant"
    assert completion.choices[0].message.content == expected
    assert completion.choices[0].finish_reason == "length"
    assert completion.choices[0].logprobs is None
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens, completion.usage.total_tokens) == (7, 30, 37)
    assert task.conversation_id is None
    assert task.instructions is None
    assert task.messages == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Hello\nthere"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "And?"},
    ]
    assert task.sampling == {
        "max_tokens": 30,
        "temperature": 0.2,
        "top_p": 0.9,
        "stop": ["\n\n\n", "END"],
        "seed": 2**63 - 1,
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
    }


def test_sync_client(gateway_url: str) -> None:
    with OpenAI(api_key="secret", base_url=gateway_url, max_retries=0, timeout=20) as client:
        completion = client.chat.completions.create(model="assistant", messages=HELLO)
        assert completion.choices[0].message.content
        assert completion.choices[0].finish_reason == "stop"
        text_of_stream = ""
        with client.chat.completions.create(model="assistant", messages=HELLO, stream=True) as stream:
            for chunk in stream:
                text_of_stream += chunk.choices[0].delta.content or ""
        assert text_of_stream
        # what was answered can be sent again
        again = client.chat.completions.create(
            model="assistant", messages=[*HELLO, completion.choices[0].message.model_dump(), *HELLO]
        )
        assert again.choices[0].message.content


@pytest.fixture
def gateway_url(postgres_url: str, valkey: Server) -> Iterator[str]:
    """A gateway and a worker on a thread of their own, for the client that blocks."""
    started, stopping = threading.Event(), threading.Event()
    urls = []

    async def serve() -> None:
        database_url = await migrated_database(postgres_url)
        async with (
            served_gateway(database_url, valkey.url, api_keys="sdk:secret") as gateway,
            worker(gateway, seconds_per_piece=0.001),
        ):
            urls.append(f"{gateway.url}/v1")
            started.set()
            while not stopping.is_set():
                await asyncio.sleep(0.02)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert started.wait(20)
    yield urls[0]
    stopping.set()
    thread.join()


async def test_stream(gateway: Served, client: AsyncOpenAI) -> None:
    async with worker(gateway, seconds_per_piece=0.005) as fake:
        stream = await client.chat.completions.create(
            model="assistant", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        expected = "".join(fake.pieces(fake.claimed[0]))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len(chunks) > 5
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == expected
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 2) + ["stop"]
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (7, 60)
    assert {chunk.id for chunk in chunks} == {f"chatcmpl-{fake.claimed[0].id}"}


async def test_stream_as_it_is_on_the_wire(gateway: Served) -> None:
    body = {"model": "assistant", "messages": HELLO, "stream": True}
    async with worker(gateway, seconds_per_piece=0):
        response = await gateway.client.post("/v1/chat/completions", json=body, headers={"Authorization": "Bearer secret"})
    blocks = response.text.split("\n\n")
    assert blocks[-2:] == ["data: [DONE]", ""]
    first = json.loads(blocks[0].removeprefix("data: "))
    assert "usage" not in first
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}


async def test_logprobs(gateway: Served, client: AsyncOpenAI) -> None:
    def logprobs(pieces: list[str]) -> list[dict[str, Any]]:
        best = [{"token": "x", "logprob": -0.5, "bytes": [120]}]
        return [{"token": item, "logprob": -0.5, "bytes": list(item.encode()), "top_logprobs": best} for item in pieces]

    async with worker(gateway, seconds_per_piece=0, logprobs=logprobs) as fake:
        completion = await client.chat.completions.create(model="assistant", messages=HELLO, logprobs=True, top_logprobs=1)
        assert fake.claimed[0].sampling["logprobs"] == 1
    found = completion.choices[0].logprobs
    assert found is not None
    assert found.content is not None
    assert "".join(item.token for item in found.content) == completion.choices[0].message.content
    assert found.content[0].top_logprobs[0].token == "x"


async def test_models(client: AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["assistant"]
    assert (await client.models.retrieve("assistant")).owned_by == "ai-assistant"
    with pytest.raises(openai.NotFoundError) as caught:
        await client.models.retrieve("gpt-4")
    assert caught.value.code == "model_not_found"


TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}
IMAGE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"tools": [TOOL]}, "tools"),
    ({"functions": [{"name": "f"}]}, "functions"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"response_format": SCHEMA}, "response_format"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"n": 2}, "n"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
    ({"logit_bias": {"5": 1}}, "logit_bias"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"logprobs": True, "stream": True}, "logprobs"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"temperature": 3}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"seed": 1.5}, "seed"),
    ({"stop": ["x"] * 17}, "stop"),
    ({"extra_body": {"temprature": 1}}, "temprature"),
    ({"messages": []}, "messages"),
    ({"messages": [IMAGE]}, "messages.0.content.0"),
    ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]}, "messages.0.tool_call_id"),
    ({"messages": [{"role": "king", "content": "x"}]}, "messages.0.role"),
    ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
]


async def test_refusals_name_the_parameter(gateway: Served, client: AsyncOpenAI) -> None:
    for options, param in REFUSED:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(**({"model": "assistant", "messages": HELLO} | options))
        body: Any = caught.value.body
        assert (body["type"], body["param"]) == ("invalid_request_error", param), options
        assert param in body["message"]
    async with gateway.state.database.session() as session:
        assert await session.scalar(text("SELECT count(*) FROM tasks")) == 0


async def test_other_errors(gateway: Served, client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        await client.chat.completions.create(model="gpt-4", messages=HELLO)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError) as stranger:
        await client.with_options(api_key="wrong").chat.completions.create(model="assistant", messages=HELLO)
    assert stranger.value.code == "invalid_api_key"
    with pytest.raises(openai.APIStatusError) as large:
        await client.chat.completions.create(model="assistant", messages=[{"role": "user", "content": "x" * 200_000}])
    assert large.value.status_code == 413


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [("prompt_too_long", 400, "context_length_exceeded"), ("worker_lost", 503, "worker_lost"), ("oom", 500, "generation_failed")],
)
async def test_failures(gateway: Served, client: AsyncOpenAI, stream: bool, error: str, status: int, code: str) -> None:
    async with worker(gateway, pieces=lambda _: [], fails_with={"code": error, "message": "A sentence."}):
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(model="assistant", messages=HELLO, stream=stream)
    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert "A sentence." in caught.value.message


async def test_failure_in_mid_stream(gateway: Served, client: AsyncOpenAI) -> None:
    async with worker(gateway, fails_with={"code": "x", "message": "A sentence."}):
        with pytest.raises(openai.APIError, match="A sentence"):
            async for _ in await client.chat.completions.create(model="assistant", messages=HELLO, stream=True):
                pass


@pytest.mark.parametrize("stream", [False, True])
async def test_deadline(postgres_url: str, valkey: Server, stream: bool) -> None:
    valkey.flush()
    async with (
        served_gateway(await migrated_database(postgres_url), valkey.url, task_seconds=1) as gateway,
        AsyncOpenAI(api_key="-", base_url=f"{gateway.url}/v1", max_retries=0) as client,
    ):
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(model="assistant", messages=HELLO, stream=stream)
        assert (caught.value.status_code, caught.value.code) == (504, "deadline_exceeded")


async def test_closed_stream_cancels(gateway: Served, client: AsyncOpenAI) -> None:
    async with worker(gateway, seconds_per_piece=0.05):
        stream = await client.chat.completions.create(model="assistant", messages=HELLO, stream=True)
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        await stream.close()
        task = await final_state(gateway, "cancelled")
        assert task.checkpoint_text


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("running", [False, True])
async def test_abandoned_request_cancels(gateway: Served, client: AsyncOpenAI, stream: bool, running: bool) -> None:
    # a stream that has not begun: nothing is visible yet
    def silent(_: Any) -> list[str]:
        return [""] * 500

    async with worker(gateway, seconds_per_piece=0.02, pieces=silent if stream else default_pieces) as fake:
        if not running:
            await fake.crash()
        asking = asyncio.create_task(client.chat.completions.create(model="assistant", messages=HELLO, stream=stream))
        async with asyncio.timeout(5):
            while not (fake.running if running else await gateway.state.redis.llen("assistant.assistant")):
                await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await final_state(gateway, "cancelled")
    assert not gateway.state.hub._channels


async def test_changed_answer_is_an_error(gateway: Served, client: AsyncOpenAI) -> None:
    """What was sent cannot be taken back here."""
    async with worker(gateway, seconds_per_piece=0.03, lease_seconds=0.5) as fake:
        stream = await client.chat.completions.create(model="assistant", messages=HELLO, stream=True)
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        await fake.crash()
        async with worker(gateway, name="fake-2", starts_over=True, pieces=lambda _: ["another"] * 500, seconds_per_piece=0.01):
            with pytest.raises(openai.APIError, match="generated again"):
                async for _ in stream:
                    pass
            await final_state(gateway, "cancelled")


async def test_database_away(own_postgres: Server, valkey: Server) -> None:
    valkey.flush()
    async with (
        served_gateway(await migrated_database(own_postgres.url), valkey.url) as gateway,
        AsyncOpenAI(api_key="-", base_url=f"{gateway.url}/v1", max_retries=0) as client,
    ):
        own_postgres.stop()
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(model="assistant", messages=HELLO)
        assert (caught.value.status_code, caught.value.code) == (503, "database_unavailable")
        own_postgres.start()
        async with worker(gateway):
            assert (await client.chat.completions.create(model="assistant", messages=HELLO)).choices[0].message.content
