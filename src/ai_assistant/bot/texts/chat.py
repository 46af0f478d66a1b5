"""What is said about messages and conversations."""

TEXTS: dict[str, dict[str, str]] = {
    "new": {
        "en": "A new conversation. What would you like to talk about?",
        "ru": "Новая беседа. О чём поговорим?",
    },
    "only_text": {
        "en": "I can read text only.",
        "ru": "Я понимаю только текст.",
    },
    "failed": {
        "en": "That did not work: {message}",
        "ru": "Не получилось: {message}",
    },
    "unavailable": {
        "en": "The assistant cannot be reached right now. Please try again in a minute.",
        "ru": "Сейчас ассистент недоступен. Попробуйте через минуту.",
    },
}
