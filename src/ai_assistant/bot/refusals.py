"""The gateway's refusals as sentences in the reader's language, by error code: what is wrong, and what to do."""

import logging

from ai_assistant.bot.gateway_client import GatewayRefusalError
from ai_assistant.bot.texts import say

logger = logging.getLogger(__name__)

OVERLOADED_SECONDS = 10
"""Where the gateway does not say how long."""

TEXTS_BY_CODE = {
    "assistant_not_found": "refused_assistant",
    "assistant_deleted": "refused_assistant",
    "body_too_large": "refused_too_long",
    "prompt_too_long": "refused_too_long",
    "unauthorized": "refused_setup",
    "forbidden": "refused_setup",
    "overloaded": "refused_busy",
    "rate_limited": "refused_busy",
}


def sentence_for(code: str, message: str, language: str | None, *, seconds: int | None = None) -> str:
    """For an error of the gateway's; `message` is its own sentence, told where the code has none here."""
    key = TEXTS_BY_CODE.get(code)
    if key == "refused_busy":
        return say(key, language, seconds=seconds or OVERLOADED_SECONDS)
    return say(key, language) if key else say("failed", language, message=message)


def explain(error: GatewayRefusalError, language: str | None) -> str:
    """For a refused request. What only the operator can mend is logged as an error."""
    log = logger.error if TEXTS_BY_CODE.get(error.reason) == "refused_setup" else logger.info
    log("The gateway refuses a message: %s (%s)", error.message, error.reason)
    return sentence_for(error.reason, error.message, language, seconds=getattr(error, "retry_after", None))
