"""What the bot asks of the gateway: HTTP, nothing else."""

import asyncio
import logging
from typing import Any

import httpx

from ai_assistant.errors import AssistantError, InvalidRequestError

logger = logging.getLogger(__name__)

WAIT_SECONDS = 30
RETRIES = (0.5, 1.0, 2.0, 4.0, 8.0)
FINAL = ("succeeded", "failed", "cancelled", "expired")


class GatewayClient:
    """One per bot. A gateway that is away for a moment is asked again; the idempotency key keeps that safe."""

    def __init__(self, url: str, key: str | None) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.AsyncClient(base_url=url, headers=headers, timeout=httpx.Timeout(10.0, read=WAIT_SECONDS + 15.0))

    async def close(self) -> None:
        await self._http.aclose()

    async def ask(self, user: str, text: str, conversation_id: str | None, *, key: str) -> dict[str, Any]:
        """Hand a message over. Returns the 202's body."""
        body = {"message": text, "user_id": user, "conversation_id": conversation_id}
        return await self._call("POST", "/api/chat", json=body, headers={"Idempotency-Key": key})

    async def wait(self, task_id: str) -> dict[str, Any]:
        """The final status of a task, however long it takes."""
        while True:
            status = await self._call("GET", f"/api/status/{task_id}", params={"wait": WAIT_SECONDS})
            if status["status"] in FINAL:
                return status

    async def cancel(self, task_id: str) -> dict[str, Any]:
        return await self._call("DELETE", f"/api/chat/{task_id}")

    async def settings(self, user: str) -> dict[str, Any]:
        """The user's settings; {} for one who is not known yet."""
        try:
            found: dict[str, Any] = (await self._call("GET", f"/api/users/{user}"))["settings"]
        except InvalidRequestError:
            return {}
        return found

    async def remember(self, user: str, settings: dict[str, Any]) -> None:
        """Merge into the user's settings; None removes a key."""
        await self._call("PATCH", f"/api/users/{user}", json={"settings": settings})

    async def _call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Raises InvalidRequestError for a refusal, AssistantError if the gateway stays away."""
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
                problem = self._sentence(response)
                if response.status_code < 500 and response.status_code != 429:
                    raise InvalidRequestError(problem)
            if pause is not None:
                logger.warning("The gateway did not answer (%s); trying again in %.1f s", problem, pause)
                await asyncio.sleep(pause)
        raise AssistantError(problem)

    @staticmethod
    def _sentence(response: httpx.Response) -> str:
        try:
            return str(response.json()["error"]["message"])
        except (ValueError, KeyError, TypeError):
            return f"HTTP {response.status_code}"
