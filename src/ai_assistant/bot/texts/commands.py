"""What the commands say."""

TEXTS: dict[str, dict[str, str]] = {
    "start": {
        "en": "Hello! Write to me and I will answer. /new starts a new conversation, /stop stops an answer.",
        "ru": "Здравствуйте! Напишите мне, и я отвечу. /new начинает новую беседу, /stop останавливает ответ.",
    },
}
