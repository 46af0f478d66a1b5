"""The Deployment of an Assistant's Telegram bot. Pure."""

from typing import Any

from ai_assistant_operator import names
from ai_assistant_operator.manifests import Env, Owner, child, filled, secret_value
from ai_assistant_operator.templates import Template


def bot_deployment(
    owner: Owner, template: Template, *, token_secret: str, token_key: str, replicas: int = 1, env: Env | None = None
) -> dict[str, Any]:
    """One pod, the old one stopped before the new one starts: Telegram answers only one poller per token.

    `env` are more settings of the bot, such as who has access; `replicas` is 0 while the Assistant is paused.
    """
    pod = filled(
        template,
        owner,
        names.BOT,
        names.service_account_name(owner.name),
        {
            **(env or {}),
            "AI_ASSISTANT_ASSISTANT": owner.name,
            "AI_ASSISTANT_TELEGRAM_TOKEN": secret_value(token_secret, token_key),
        },
    )
    spec = {
        "replicas": min(replicas, 1),
        "revisionHistoryLimit": 1,
        "progressDeadlineSeconds": 300,
        "selector": {"matchLabels": names.selector(owner.name, names.BOT)},
        "strategy": {"type": "Recreate"},
        "template": pod,
    }
    return child(owner, "apps/v1", "Deployment", names.bot_name(owner.name), names.BOT, spec=spec)
