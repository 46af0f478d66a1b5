"""What is written into or instead of answers. Plain sentences: some of them end up inside Markdown."""

TEXTS: dict[str, dict[str, str]] = {
    "empty": {
        "en": "I have no answer to that. Try to put it differently.",
        "ru": "Мне нечего на это ответить. Попробуйте сказать иначе.",
    },
    "resent": {
        "en": "(You may have got this already.)\n\n",
        "ru": "(Возможно, это уже приходило.)\n\n",
    },
    "ending_stopped": {
        "en": "… (stopped)",
        "ru": "… (остановлено)",
    },
    "ending_length": {
        "en": "… (cut off, too long; write “continue” for the rest)",
        "ru": "… (ответ слишком длинный; напишите «продолжай», и я допишу)",
    },
    "ending_deadline": {
        "en": "… (cut off, it took too long; write “continue” for the rest)",
        "ru": "… (время вышло; напишите «продолжай», и я допишу)",
    },
    "ending_failed": {
        "en": "… (the answer broke off; ask again with /retry)",
        "ru": "… (ответ оборвался; повторить можно командой /retry)",
    },
    "answer_failed": {
        "en": "There is no answer: {message}",
        "ru": "Ответа не будет: {message}",
    },
    "answer_prompt_too_long": {
        "en": "Your message is too long for this assistant. Shorten it or send it in pieces.",
        "ru": "Сообщение слишком длинное для этого ассистента. Сократите его или пришлите по частям.",
    },
    "answer_deadline_exceeded": {
        "en": "There was no answer in time: too many people are waiting right now. Please ask again a little later.",
        "ru": "Ответ не успел: сейчас слишком много желающих. Спросите, пожалуйста, чуть позже.",
    },
    "answer_overloaded": {
        "en": "Too many people are asking right now. Please try again in a minute.",
        "ru": "Сейчас слишком много запросов. Попробуйте через минуту.",
    },
    "answer_worker_lost": {
        "en": "The answer was lost on the way, more than once. Please ask again with /retry.",
        "ru": "Ответ несколько раз обрывался на полпути. Попробуйте ещё раз: /retry.",
    },
    "answer_assistant_deleted": {
        "en": "This assistant does not exist any more. Choose another one in /settings.",
        "ru": "Этого ассистента больше нет. Выберите другого в /settings.",
    },
    "answer_content_filtered": {
        "en": "The model's content rules forbid an answer to that. Try to put it differently.",
        "ru": "Правила модели не позволяют на это ответить. Попробуйте сказать иначе.",
    },
    "answer_no_model": {
        "en": "The model is out of order right now. Please try again later with /retry; the bot's owner sees why in the log.",
        "ru": "Модель сейчас не работает. Попробуйте позже: /retry. Владелец бота увидит причину в журнале.",
    },
    "answer_internal_error": {
        "en": "Something went wrong on our side. Please ask again with /retry.",
        "ru": "Что-то сломалось на нашей стороне. Попробуйте ещё раз: /retry.",
    },
}
