"""The connection to the Bot API: proxy, base URL, and every failure of theirs as an error of aiogram's.

What proxies, captive portals and load balancers answer is neither JSON nor one of aiohttp's errors. Untranslated it would
look like a defect of the bot's. No message of an error shows the token or the proxy's password.
"""

import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import certifi
from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import ClientDecodeError, TelegramNetworkError, TelegramServerError
from aiogram.methods import Response, TelegramMethod
from aiogram.methods.base import TelegramType
from aiohttp_socks import ProxyConnectionError, ProxyConnector, ProxyError, ProxyTimeoutError, ProxyType

from ai_assistant.errors import ConfigurationError
from ai_assistant.settings import BotSettings

REQUEST_SECONDS = 60.0
"""The longest that any request may take, where it does not say otherwise (long polling does)."""

CONNECTIONS = 200

PROXY_TYPES = {"http": ProxyType.HTTP, "https": ProxyType.HTTP, "socks4": ProxyType.SOCKS4, "socks5": ProxyType.SOCKS5}
PROXY_TYPES |= {"socks5h": ProxyType.SOCKS5}  # names are resolved by the proxy in any case
PROXY_ERRORS = (ProxyConnectionError, ProxyTimeoutError, ProxyError)
"""All of them before anything was sent."""

PROXY_FORM = "AI_ASSISTANT_TELEGRAM_PROXY should be socks5://HOST:PORT, http://HOST:PORT or https://HOST:PORT"


@dataclass(frozen=True)
class ProxyAddress:
    """Where the proxy is, and how it is spoken to."""

    kind: ProxyType
    is_tls: bool
    host: str
    port: int
    username: str | None
    password: str | None


def proxy_address(url: str) -> ProxyAddress:
    """Raises ConfigurationError, which shows nothing of what was given: it may be a password."""
    if "://" not in url:
        raise ConfigurationError(f"{PROXY_FORM}: the scheme is missing.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigurationError(
            f"{PROXY_FORM}; in a user name or password write @ as %40, : as %3A, / as %2F, # as %23 and % as %25."
        ) from error
    kind = PROXY_TYPES.get(parts.scheme)
    if kind is None:
        raise ConfigurationError(f"{PROXY_FORM}; a scheme other than socks5, socks4, http and https cannot be used.")
    if not host or not port:
        raise ConfigurationError(f"{PROXY_FORM}: the {'port' if host else 'host'} is missing.")
    if has_rest(parts):
        raise ConfigurationError(f"{PROXY_FORM}, and nothing after it; in a password write / as %2F, # as %23 and ? as %3F.")
    username = unquote(parts.username) if parts.username else None
    password = unquote(parts.password or "") if username else None
    return ProxyAddress(kind, parts.scheme == "https", host, port, username, password)


def has_rest(parts: SplitResult) -> bool:
    return parts.path not in ("", "/") or bool(parts.query or parts.fragment)


def api_server(url: str) -> TelegramAPIServer:
    """Raises ConfigurationError for what cannot be the base URL of a Bot API."""
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or parts.query or parts.fragment or "{" in url or "/bot" in parts.path:
        raise ConfigurationError(
            "AI_ASSISTANT_TELEGRAM_API_URL should be a base URL such as https://api.telegram.org, without /bot and the token."
        )
    return TelegramAPIServer.from_base(url)


class ApiSession(AiohttpSession):
    """aiogram's session, with the proxies that the platform promises and nothing but aiogram's errors."""

    def __init__(self, api: TelegramAPIServer, proxy: ProxyAddress | None = None) -> None:
        super().__init__(api=api, timeout=REQUEST_SECONDS, limit=CONNECTIONS)
        if proxy is not None:
            self._connector_type = ProxyConnector
            # beside what aiogram gives to a connector without a proxy
            self._connector_init |= {
                "host": proxy.host,
                "port": proxy.port,
                "proxy_type": proxy.kind,
                "username": proxy.username,
                "password": proxy.password,
                "rdns": True,
                "proxy_ssl": ssl.create_default_context(cafile=certifi.where()) if proxy.is_tls else None,
            }

    async def make_request(self, bot: Bot, method: TelegramMethod[TelegramType], timeout: int | None = None) -> TelegramType:
        """Raises TelegramNetworkError for whatever happens on the way, and aiogram's other errors for what Telegram says."""
        try:
            return await super().make_request(bot, method, timeout)
        except PROXY_ERRORS as error:
            raise TelegramNetworkError(method=method, message=f"proxy: {error}") from error
        except OSError as error:
            raise TelegramNetworkError(method=method, message=f"{type(error).__name__}: {error}") from error
        except TelegramNetworkError as error:
            error.message = error.message.replace(bot.token, "TOKEN")
            raise

    def check_response(
        self, bot: Bot, method: TelegramMethod[TelegramType], status_code: int, content: str
    ) -> Response[TelegramType]:
        try:
            return super().check_response(bot, method, status_code, content)
        except ClientDecodeError as error:
            if content.lstrip().startswith("{"):
                raise
            # a page of somebody in between
            if status_code >= 500:
                raise TelegramServerError(method=method, message=f"HTTP {status_code} without an answer of Telegram's") from error
            raise TelegramNetworkError(method=method, message=f"HTTP {status_code} with a page that is not Telegram's") from error


def api_session(settings: BotSettings) -> ApiSession:
    """Raises ConfigurationError for a base URL or a proxy that cannot be one."""
    proxy = proxy_address(settings.telegram_proxy.get_secret_value()) if settings.telegram_proxy else None
    return ApiSession(api_server(settings.telegram_api_url), proxy)


def proxy_help(error: BaseException | None) -> str:
    """What to do about a failure of the proxy's, for the log; empty for other failures."""
    if not isinstance(error, PROXY_ERRORS):
        return ""
    code: Any = getattr(error, "error_code", None)
    if code == 407 or "authentication" in str(error).lower():
        return "; the proxy wants another user name or password: see AI_ASSISTANT_TELEGRAM_PROXY"
    return "; see AI_ASSISTANT_TELEGRAM_PROXY"
