"""What is written into or instead of answers."""

TEXTS: dict[str, dict[str, str]] = {
    "empty": {
        "en": "I have no answer to that. Try to put it differently.",
        "ru": "Мне нечего на это ответить. Попробуйте сказать иначе.",
    },
    "resent": {
        "en": "(You may have got this already.)\n\n",
        "ru": "(Возможно, это уже приходило.)\n\n",
    },
}
