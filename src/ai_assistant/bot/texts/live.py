"""What is shown while an answer is being written, and when it is stopped."""

TEXTS: dict[str, dict[str, str]] = {
    "queue": {
        "en": "Queue position {position}",
        "ru": "Ваше место в очереди: {position}",
    },
    "queue_seconds": {
        "en": "Queue position {position}, about {seconds} s",
        "ru": "Ваше место в очереди: {position}, ждать примерно {seconds} с",
    },
    "queue_minutes": {
        "en": "Queue position {position}, about {minutes} min",
        "ru": "Ваше место в очереди: {position}, ждать примерно {minutes} мин",
    },
    "preparing": {
        "en": "The model is being prepared. I will answer as soon as it is ready.",
        "ru": "Модель готовится. Я отвечу, как только она будет готова.",
    },
    "preparing_percent": {
        "en": "The model is being prepared, {percent} %. I will answer as soon as it is ready.",
        "ru": "Модель готовится, {percent} %. Я отвечу, как только она будет готова.",
    },
    "broken": {
        "en": "I cannot answer at the moment. Your message is kept.",
        "ru": "Сейчас я не могу ответить. Ваше сообщение сохранено.",
    },
    "broken_why": {
        "en": "I cannot answer at the moment: {why}\nYour message is kept.",
        "ru": "Сейчас я не могу ответить: {why}\nВаше сообщение сохранено.",
    },
    "stop_button": {
        "en": "⏹ Stop",
        "ru": "⏹ Остановить",
    },
    "stopped": {
        "en": "Stopped.",
        "ru": "Остановлено.",
    },
    "nothing_to_stop": {
        "en": "There is nothing to stop.",
        "ru": "Сейчас нечего останавливать.",
    },
    "already_written": {
        "en": "This answer is complete already.",
        "ru": "Этот ответ уже готов.",
    },
    "not_yours_to_stop": {
        "en": "Only the person who asked and the group's administrators can stop this answer.",
        "ru": "Остановить этот ответ могут только автор вопроса и администраторы группы.",
    },
    "stop_failed": {
        "en": "The answer could not be stopped: the assistant cannot be reached. Please try again in a minute.",
        "ru": "Не удалось остановить ответ: ассистент недоступен. Попробуйте ещё раз через минуту.",
    },
}
