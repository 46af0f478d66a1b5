"""Updates by POST: one after the other, each repeated until the bot takes it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
from telegram.calls import Call, bad_request
from telegram.chats import JsonObject
from telegram.updates import WEBHOOK_SET

if TYPE_CHECKING:
    from telegram.api import BotApi

SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"
PORTS = {443, 80, 88, 8443}
ANSWER_SECONDS = 60.0


@dataclass
class Webhook:
    """Where updates go, and how it went."""

    url: str = ""
    secret: str = ""
    max_connections: int = 40
    first_pause: float = 0.05
    """Real seconds before the first repetition; doubled each time."""
    longest_pause: float = 2.0
    last_error: str | None = None
    last_error_at: int = 0
    deliveries: list[tuple[int, int | None]] = field(default_factory=list)
    """The number of each update that was posted, and the status of the answer, None without one."""

    async def deliver(self, api: BotApi) -> None:
        """Post what is pending, oldest first, until cancelled."""
        arrived = api.updates.arrived = asyncio.Event()
        failures = 0
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(ANSWER_SECONDS)) as session:
            while True:
                arrived.clear()
                batch = api.updates.next_batch(1) if self.url else []
                if not batch:
                    await arrived.wait()
                    continue
                update = batch[0]
                if await self._post(api, session, update):
                    failures = 0
                    if api.updates.pending and api.updates.pending[0] is update:
                        api.updates.confirm(update["update_id"] + 1)
                else:
                    await asyncio.sleep(min(self.first_pause * 2**failures, self.longest_pause))
                    failures += 1

    async def _post(self, api: BotApi, session: aiohttp.ClientSession, update: JsonObject) -> bool:
        """Whether the bot took it."""
        status, answer = None, b""
        try:
            headers = {SECRET_HEADER: self.secret} if self.secret else {}
            async with session.post(self.url, json=update, headers=headers) as response:
                status, answer = response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.last_error = str(error) or type(error).__name__
        self.deliveries.append((update["update_id"], status))
        api.record.answered()
        if status is None or not 200 <= status < 300:
            self.last_error = self.last_error if status is None else f"Wrong response from the webhook: {status}"
            self.last_error_at = int(time.time())
            return False
        with contextlib.suppress(ValueError, TypeError, KeyError):
            parameters = json.loads(answer)
            # a call in the answer is carried out, and nobody hears how
            api.carry_out(Call(parameters.pop("method"), parameters))
        return True


def set_webhook(api: BotApi, call: Call) -> bool:
    url, secret = call.text("url"), call.text("secret_token")
    if not url:
        return delete_webhook(api, call)
    parts = urlsplit(url)
    on_loopback = parts.hostname in ("127.0.0.1", "localhost", "::1")
    if parts.scheme != "https" and not on_loopback:
        raise bad_request("bad webhook: An HTTPS URL must be provided for webhook")
    if not on_loopback and (parts.port or 443) not in PORTS:
        raise bad_request("bad webhook: Webhook can be set up only on ports 80, 88, 443 or 8443")
    if secret and not re.fullmatch("[A-Za-z0-9_-]{1,256}", secret):
        raise bad_request("secret token contains unallowed characters")
    api.updates.allow(call)
    if call.flag("drop_pending_updates"):
        api.updates.pending.clear()
    api.webhook.url, api.webhook.secret = url, secret
    api.webhook.max_connections = call.number("max_connections", 40)
    api.updates.end_poll(WEBHOOK_SET)
    api.updates.wake()
    return True


def delete_webhook(api: BotApi, call: Call) -> bool:
    api.webhook.url = api.webhook.secret = ""
    if call.flag("drop_pending_updates"):
        api.updates.pending.clear()
    return True


def get_webhook_info(api: BotApi, _: Call) -> JsonObject:
    webhook = api.webhook
    info: JsonObject = {
        "url": webhook.url, "has_custom_certificate": False, "pending_update_count": len(api.updates.pending)
    }  # fmt: skip
    if webhook.url:
        info["max_connections"] = webhook.max_connections
    if api.updates.allowed:
        info["allowed_updates"] = api.updates.allowed
    if webhook.url and webhook.last_error_at:
        info |= {"last_error_date": webhook.last_error_at, "last_error_message": webhook.last_error}
    return info
