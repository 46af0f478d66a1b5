"""/v1 with OpenAI's own SDK, over real connections."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
import pytest
from fake_worker import default_pieces
from openai import AsyncOpenAI, OpenAI
from servers import Server

from gateway_app import migrated_database
from gateway_server import Served, served_gateway
from openai_requests import HELLO, final_state, only_task, worker


@pytest.fixture
async def gateway(postgres_url: str, valkey: Server) -> AsyncIterator[Served]:
    valkey.flush()
    async with served_gateway(await migrated_database(postgres_url), valkey.url, api_keys="sdk:secret") as served:
        yield served


@pytest.fixture
async def client(gateway: Served) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(api_key="secret", base_url=f"{gateway.url}/v1", max_retries=0, timeout=20) as client:
        yield client


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
