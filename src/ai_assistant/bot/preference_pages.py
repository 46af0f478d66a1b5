"""What /settings shows: pages of text and buttons, made from the settings alone.

A button's data is `pref:NOUN:VALUE` in at most 64 bytes, so an assistant's name, which may be longer, goes as a
digest.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup

from ai_assistant.bot.texts import LANGUAGES, say
from ai_assistant.contracts import DEFAULT_ASSISTANT

PERSONAS = ("teacher", "editor", "translator", "concise")
NAMES = {"en": "English", "ru": "Русский"}
NOTHING = "-"
"""The value that takes a choice back."""
MAX_SHOWN = 50
"""Assistants on the page: Telegram takes 100 buttons."""


@dataclass(frozen=True, slots=True)
class Page:
    """A message with its keyboard."""

    text: str
    keyboard: InlineKeyboardMarkup


def home(settings: dict[str, Any], language: str, *, has_choice: bool) -> Page:
    """What is chosen. `has_choice`: there is more than one assistant."""
    text = say(
        "settings",
        language,
        chosen=NAMES.get(str(settings.get("language")), say("language_auto", language)),
        assistant=settings.get("assistant") or say("assistant_default", language),
        persona=persona_title(settings.get("persona"), language),
    )
    rows = [[(say("button_language", language), "pref:language")], [(say("button_persona", language), "pref:persona")]]
    if has_choice:
        rows.insert(1, [(say("button_assistant", language), "pref:assistant")])
    return Page(text, keyboard(rows))


def languages(settings: dict[str, Any], language: str) -> Page:
    chosen = settings.get("language")
    rows = [[(marked(NAMES[code], is_chosen=code == chosen), f"pref:language:{code}")] for code in LANGUAGES]
    rows.append([(marked(say("language_auto", language), is_chosen=chosen not in LANGUAGES), f"pref:language:{NOTHING}")])
    return Page(say("choose_language", language), keyboard([*rows, back(language)]))


def assistants(settings: dict[str, Any], language: str, found: list[dict[str, Any]]) -> Page:
    chosen = settings.get("assistant")
    rows = []
    for item in found[:MAX_SHOWN]:
        state = say("state_ready", language) if item["state"] == "ready" else say("state_not_ready", language)
        label = marked(f"{item['name']} · {state}", is_chosen=item["name"] == chosen)
        rows.append([(label, f"pref:assistant:{digest(item['name'])}")])
    rows.append([(marked(say("assistant_default", language), is_chosen=chosen is None), f"pref:assistant:{NOTHING}")])
    return Page(say("choose_assistant", language), keyboard([*rows, back(language)]))


def personas(settings: dict[str, Any], language: str) -> Page:
    chosen = preset_of(settings.get("persona"))
    rows = [[(marked(say(f"persona_{name}", language), is_chosen=name == chosen), f"pref:persona:{name}")] for name in PERSONAS]
    is_own = bool(settings.get("persona")) and chosen is None
    rows.append([(marked(say("persona_own", language), is_chosen=is_own), "pref:persona:own")])
    rows.append([(marked(say("persona_none", language), is_chosen=not settings.get("persona")), f"pref:persona:{NOTHING}")])
    return Page(say("choose_persona", language), keyboard([*rows, back(language)]))


def preset_of(persona: object) -> str | None:
    """The preset whose instructions, in whichever language, these are."""
    return next((name for name in PERSONAS if persona in {say(f"instructions_{name}", code) for code in LANGUAGES}), None)


def persona_title(persona: object, language: str) -> str:
    if not persona:
        return say("persona_none", language)
    preset = preset_of(persona)
    return say(f"persona_{preset}", language) if preset else say("persona_own", language)


def takes_persona(settings: dict[str, Any], found: list[dict[str, Any]]) -> bool:
    """Whether the assistant that answers lets people change how it answers."""
    name = settings.get("assistant") or DEFAULT_ASSISTANT
    chosen = next((item for item in found if item["name"] == name), found[0] if len(found) == 1 else None)
    return chosen is None or chosen["details"].get("persona") is not False


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def marked(label: str, *, is_chosen: bool) -> str:
    return f"✓ {label}" if is_chosen else label


def back(language: str) -> list[tuple[str, str]]:
    return [(say("button_back", language), "pref:home")]


def keyboard(rows: list[list[tuple[str, str]]]) -> InlineKeyboardMarkup:
    """Of labels with their data."""
    buttons = [[InlineKeyboardButton(text=label, callback_data=data) for label, data in row] for row in rows]
    return InlineKeyboardMarkup(inline_keyboard=buttons)
