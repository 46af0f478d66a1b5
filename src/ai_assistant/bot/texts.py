"""What the bot says, in every language it speaks."""

TEXTS = {
    "en": {
        "start": "Hello! Write to me and I will answer. /new starts a new conversation, /stop stops an answer.",
        "new": "A new conversation. What would you like to talk about?",
        "stopped": "Stopped.",
        "nothing_to_stop": "There is nothing to stop.",
        "only_text": "I can read text only.",
        "empty": "I have no answer to that. Try to put it differently.",
        "failed": "That did not work: {message}",
        "resent": "(You may have got this already.)\n\n",
        "unavailable": "The assistant cannot be reached right now. Please try again in a minute.",
    },
    "ru": {
        "start": "Здравствуйте! Напишите мне, и я отвечу. /new начинает новую беседу, /stop останавливает ответ.",
        "new": "Новая беседа. О чём поговорим?",
        "stopped": "Остановлено.",
        "nothing_to_stop": "Сейчас нечего останавливать.",
        "only_text": "Я понимаю только текст.",
        "empty": "Мне нечего на это ответить. Попробуйте сказать иначе.",
        "failed": "Не получилось: {message}",
        "resent": "(Возможно, это уже приходило.)\n\n",
        "unavailable": "Сейчас ассистент недоступен. Попробуйте через минуту.",
    },
}


def say(key: str, language_code: str | None, **values: str) -> str:
    """The text `key` in the user's language; English where there is none."""
    language = (language_code or "en").partition("-")[0].lower()
    return TEXTS.get(language, TEXTS["en"])[key].format(**values)


def split_text(text: str, limit: int = 4096) -> list[str]:
    """Parts of at most `limit` UTF-16 code units, which is what Telegram counts; split at lines or spaces where there are any."""
    parts = []
    while text:
        size, end = 0, 0
        for character in text:
            size += 2 if ord(character) > 0xFFFF else 1
            if size > limit:
                break
            end += 1
        if end < len(text):
            cut = max(text.rfind("\n", 0, end), text.rfind(" ", end // 2, end))
            end = cut + 1 if cut > 0 else end
        parts.append(text[:end])
        text = text[end:]
    return [part for part in parts if part.strip()]
