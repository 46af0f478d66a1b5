"""What is shown while an answer is being written, and when it is stopped."""

TEXTS: dict[str, dict[str, str]] = {
    "stopped": {
        "en": "Stopped.",
        "ru": "Остановлено.",
    },
    "nothing_to_stop": {
        "en": "There is nothing to stop.",
        "ru": "Сейчас нечего останавливать.",
    },
}
