"""What is said about messages and conversations."""

TEXTS: dict[str, dict[str, str]] = {
    "new": {
        "en": "A new conversation. What would you like to talk about?",
        "ru": "Новая беседа. О чём поговорим?",
    },
    "nothing_to_retry": {
        "en": "There is no answer to write again yet.",
        "ru": "Пока нет ответа, который можно написать заново.",
    },
    "ask_me": {
        "en": "Yes? Write your question in the same message.",
        "ru": "Да? Напишите вопрос в том же сообщении.",
    },
    "unknown_command": {
        "en": "I do not know this command. /help shows what I can do.",
        "ru": "Такой команды я не знаю. Что я умею, покажет /help.",
    },
    "only_text": {
        "en": "I can read text only. Please write it to me in words.",
        "ru": "Я понимаю только текст. Напишите, пожалуйста, словами.",
    },
    "only_caption": {
        "en": "I cannot look at attachments, so I answer the text under it.",
        "ru": "Вложения мне не видны, поэтому отвечаю на подпись.",
    },
    "edit_of_long": {
        "en": "That message had come in several parts, so I cannot tell what the whole says now. Please send it again.",
        "ru": "То сообщение пришло по частям, и я не вижу, как оно читается целиком. Отправьте его, пожалуйста, ещё раз.",
    },
    "failed": {
        "en": "That did not work: {message}",
        "ru": "Не получилось: {message}",
    },
    "unavailable": {
        "en": "The assistant cannot be reached right now. Please try again in a minute.",
        "ru": "Сейчас ассистент недоступен. Попробуйте через минуту.",
    },
    "kept": {
        "en": "The assistant is not reachable right now. Your message is kept and will be answered.",
        "ru": "Ассистент сейчас недоступен. Ваше сообщение сохранено, ответ придёт.",
    },
    "refused_assistant": {
        "en": "This assistant is not available any more. Choose another one in /settings.",
        "ru": "Этого ассистента больше нет. Выберите другого в /settings.",
    },
    "refused_too_long": {
        "en": "This is too long for me. Please shorten it, or ask about one part at a time.",
        "ru": "Это слишком длинно для меня. Сократите текст или спросите по частям.",
    },
    "refused_busy": {
        "en": "Too many questions are waiting right now. Please send yours again in {seconds} s.",
        "ru": "Сейчас слишком много вопросов в очереди. Отправьте свой ещё раз через {seconds} с.",
    },
    "refused_setup": {
        "en": "I am not set up correctly, so I cannot answer. Please tell whoever runs me.",
        "ru": "Я настроен неправильно и не могу ответить. Сообщите тому, кто меня запустил.",
    },
}
