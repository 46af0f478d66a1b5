"""What the bot says, in every language it speaks: a module per area, each text in all LANGUAGES (a test checks)."""

from ai_assistant.bot.texts import access, chat, commands, delivery, intake, live

LANGUAGES = ("en", "ru")
TEXTS = {**commands.TEXTS, **chat.TEXTS, **live.TEXTS, **delivery.TEXTS, **access.TEXTS, **intake.TEXTS}


def language_from(code: str | None) -> str:
    """The language of the bot's that suits a BCP 47 code (`ru-RU`); English where none does."""
    language = (code or "").partition("-")[0].lower()
    return language if language in LANGUAGES else "en"


def say(key: str, language: str | None, **values: str | int) -> str:
    """The text `key` in the user's language."""
    return TEXTS[key][language_from(language)].format(**values)
