"""What /v1 refuses and how answers that fail end, seen by OpenAI's own SDK."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from servers import Server
from sqlalchemy import text

from gateway_app import migrated_database
from gateway_server import Served, served_gateway
from openai_requests import HELLO, final_state, worker


@pytest.fixture
async def gateway(postgres_url: str, valkey: Server) -> AsyncIterator[Served]:
    valkey.flush()
    async with served_gateway(await migrated_database(postgres_url), valkey.url, api_keys="sdk:secret") as served:
        yield served


@pytest.fixture
async def client(gateway: Served) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(api_key="secret", base_url=f"{gateway.url}/v1", max_retries=0, timeout=20) as client:
        yield client


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
    ({"temperature": "1"}, "temperature"),
    ({"top_p": True}, "top_p"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"seed": 1.5}, "seed"),
    ({"stop": ["x"] * 17}, "stop"),
    ({"stop": ""}, "stop"),
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
        assert "constrained" not in body["message"]
        assert not body["message"].endswith("..")
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
