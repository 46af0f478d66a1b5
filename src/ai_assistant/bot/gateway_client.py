"""What the bot asks of the gateway: HTTP, nothing else."""

import asyncio
import logging
from typing import Any, BinaryIO

import httpx

from ai_assistant.errors import AssistantError, InvalidRequestError
from ai_assistant.logs import request_id

logger = logging.getLogger(__name__)

WAIT_SECONDS = 30
RETRIES = (0.5, 1.0, 2.0, 4.0, 8.0)
FINAL = ("succeeded", "failed", "cancelled", "expired")
CHANNEL = "telegram"


class GatewayRefusalError(InvalidRequestError):
    """The gateway refuses a request for good."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
        """The gateway's code."""


class GatewayClient:
    """One per bot. A gateway that is away for a moment is asked again; the idempotency key keeps that safe."""

    def __init__(self, url: str, key: str | None) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = httpx.Timeout(10.0, read=WAIT_SECONDS + 15.0)
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

    async def call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Raises GatewayRefusalError for a refusal, AssistantError if the gateway stays away."""
        problem = ""
        for pause in (*RETRIES, None):
            try:
                response = await self._http.request(method, path, **options)
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__}: {error}"
            else:
                if response.is_success:
                    result: dict[str, Any] = response.json()
                    return result
                problem, code = self._error(response)
                if response.status_code < 500 and response.status_code != 429:
                    raise GatewayRefusalError(problem, code)
            if pause is not None:
                logger.warning("The gateway did not answer (%s); trying again in %.1f s", problem, pause)
                await asyncio.sleep(pause)
        raise AssistantError(problem)

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
                    raise GatewayRefusalError(problem, code)
            if pause is not None:
                logger.warning("The gateway did not answer (%s); trying again in %.1f s", problem, pause)
                await asyncio.sleep(pause)
        raise AssistantError(problem)

    @staticmethod
    def _error(response: httpx.Response) -> tuple[str, str]:
        """The gateway's sentence and code."""
        try:
            error = response.json()["error"]
            return str(error["message"]), str(error["code"])
        except (ValueError, KeyError, TypeError):
            return f"HTTP {response.status_code}", ""


async def carry_request_id(request: httpx.Request) -> None:
    """The update that is being handled, for the gateway's and the worker's logs."""
    if (identifier := request_id.get()) is not None:
        request.headers["X-Request-ID"] = identifier
