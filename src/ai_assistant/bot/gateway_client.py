"""What the bot asks of the gateway: HTTP, nothing else."""

import asyncio
import logging
import time
from contextlib import AbstractAsyncContextManager
from typing import Any, BinaryIO

import httpx

from ai_assistant.errors import AssistantError, ConfigurationError, InvalidRequestError
from ai_assistant.logs import request_id

logger = logging.getLogger(__name__)

WAIT_SECONDS = 30
RETRIES = (0.5, 1.0, 2.0, 4.0, 8.0)
MAX_RETRY_AFTER = 10.0
SAY_AGAIN_SECONDS = 30.0
FINAL = ("succeeded", "failed", "cancelled", "expired")
CHANNEL = "telegram"


class GatewayRefusalError(InvalidRequestError):
    """The gateway refuses a request for good."""

    def __init__(self, message: str, reason: str, status: int = 422) -> None:
        super().__init__(message)
        self.reason = reason
        """The gateway's code."""
        self.status = status


class GatewayClient:
    """One per bot. A gateway that is away for a moment is asked again; the idempotency key keeps that safe."""

    def __init__(self, url: str, key: str | None) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = httpx.Timeout(10.0, read=WAIT_SECONDS + 15.0)
        self._said_at: float | None = None
        # every answer that is awaited holds a connection: reports must not stand in line behind them
        self._http = httpx.AsyncClient(
            base_url=url,
            headers=headers,
            timeout=timeout,
            event_hooks={"request": [carry_request_id]},
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def ask(self, user: str, text: str, conversation_id: str | None, *, target: dict[str, Any], key: str) -> dict[str, Any]:
        """Hand a message over, to be answered to `target`. Returns the 202's body."""
        delivery = {"channel": CHANNEL, "target": target}
        body = {"message": text, "user_id": user, "conversation_id": conversation_id, "delivery": delivery}
        return await self.call("POST", "/api/chat", json=body, headers={"Idempotency-Key": key})

    async def wait(self, task_id: str) -> dict[str, Any]:
        """The final status of a task, however long it takes."""
        while True:
            status = await self.call("GET", f"/api/status/{task_id}", params={"wait": WAIT_SECONDS})
            if status["status"] in FINAL:
                return status

    async def cancel(self, task_id: str) -> dict[str, Any]:
        return await self.call("DELETE", f"/api/chat/{task_id}")

    async def unfinished(self, chat_id: int) -> list[str]:
        """Ids of the tasks whose answers a chat still waits for."""
        query: dict[str, str | int] = {"channel": CHANNEL, "state": "waiting", "target": str(chat_id), "limit": 100}
        return [item["task_id"] for item in (await self.call("GET", "/api/deliveries", params=query))["deliveries"]]

    async def claim(self, worker: str, limit: int, lease_seconds: float) -> list[dict[str, Any]]:
        """Answers to deliver, as soon as there are any; [] after a while without."""
        body = {"channel": CHANNEL, "worker": worker, "limit": limit, "wait": WAIT_SECONDS, "lease_seconds": lease_seconds}
        claimed: list[dict[str, Any]] = (await self.call("POST", "/api/deliveries/claim", json=body))["deliveries"]
        return claimed

    async def report(self, delivery_id: str, attempt: int, event: str, **details: Any) -> dict[str, Any]:
        """What became of a delivery. Raises GatewayRefusalError when somebody else holds it by now."""
        body = {"attempt": attempt, "event": event, **details}
        return await self.call("POST", f"/api/deliveries/{delivery_id}/report", json=body)

    async def settings(self, user: str) -> dict[str, Any]:
        """The user's settings; {} for one who is not known yet."""
        try:
            found: dict[str, Any] = (await self.call("GET", f"/api/users/{user}"))["settings"]
        except InvalidRequestError:
            return {}
        return found

    async def remember(self, user: str, settings: dict[str, Any]) -> None:
        """Merge into the user's settings; None removes a key."""
        await self.call("PATCH", f"/api/users/{user}", json={"settings": settings})

    async def wait_until_usable(self) -> None:
        """Says in the log while the gateway is away. Raises ConfigurationError when it refuses our key."""
        while True:
            try:
                await self.call("GET", "/api/deliveries", params={"channel": CHANNEL, "limit": 1})
            except GatewayRefusalError as error:
                if error.status in (401, 403):
                    raise ConfigurationError(
                        f"The gateway refuses AI_ASSISTANT_GATEWAY_KEY ({error.message}); it must be one of the gateway's "
                        "AI_ASSISTANT_SERVICE_KEYS."
                    ) from error
                raise ConfigurationError(
                    f"What answers at AI_ASSISTANT_GATEWAY_URL is not a gateway of this version ({error.message})."
                ) from error
            except AssistantError:
                continue
            return

    async def call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Raises GatewayRefusalError for a refusal, AssistantError if the gateway stays away."""
        problem = ""
        for pause in (*RETRIES, None):
            wanted = 0.0
            try:
                response = await self._http.request(method, path, **options)
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            else:
                if response.is_success:
                    self._is_back()
                    result: dict[str, Any] = response.json() if response.content else {}
                    return result
                problem, code = self._error(response)
                if response.status_code < 500 and response.status_code != 429:
                    self._is_back()
                    raise GatewayRefusalError(problem, code, response.status_code)
                wanted = min(seconds_of(response.headers.get("Retry-After")), MAX_RETRY_AFTER)
            self._is_away(problem)
            if pause is not None:
                await asyncio.sleep(max(pause, wanted))
        raise AssistantError(problem)

    def stream(self, path: str, *, headers: dict[str, str], timeout: float) -> AbstractAsyncContextManager[httpx.Response]:
        """An answer to GET that is read as it comes, with `timeout` seconds for each piece. Nothing is tried again."""
        return self._http.stream("GET", path, headers=headers, timeout=httpx.Timeout(10.0, read=timeout))

    async def download(self, path: str, file: BinaryIO) -> None:
        """Write an answer's body into a file, without holding it in memory. Raises as `call` does."""
        problem = ""
        for pause in (*RETRIES, None):
            file.seek(0)
            file.truncate()
            try:
                async with self._http.stream("GET", path) as response:
                    if response.is_success:
                        async for chunk in response.aiter_bytes():
                            file.write(chunk)
                        return
                    await response.aread()
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__}: {error}"
            else:
                problem, code = self._error(response)
                if response.status_code < 500 and response.status_code != 429:
                    raise GatewayRefusalError(problem, code, response.status_code)
            self._is_away(problem)
            if pause is not None:
                await asyncio.sleep(pause)
        raise AssistantError(problem)

    def _is_away(self, problem: str) -> None:
        """Said once, and again from time to time; many requests fail at once."""
        now = time.monotonic()
        if self._said_at is None or now - self._said_at >= SAY_AGAIN_SECONDS:
            self._said_at = now
            logger.warning("The gateway at %s does not answer (%s); trying again", self._http.base_url, problem)

    def _is_back(self) -> None:
        if self._said_at is not None:
            self._said_at = None
            logger.info("The gateway answers again")

    @staticmethod
    def _error(response: httpx.Response) -> tuple[str, str]:
        """The gateway's sentence and code."""
        try:
            error = response.json()["error"]
            return str(error["message"]), str(error["code"])
        except (ValueError, KeyError, TypeError):
            return f"HTTP {response.status_code}", ""


def seconds_of(header: str | None) -> float:
    """Of a Retry-After; 0 where there is none."""
    return float(header) if header and header.isdigit() else 0.0


async def carry_request_id(request: httpx.Request) -> None:
    """The update that is being handled, for the gateway's and the worker's logs."""
    if (identifier := request_id.get()) is not None:
        request.headers["X-Request-ID"] = identifier
