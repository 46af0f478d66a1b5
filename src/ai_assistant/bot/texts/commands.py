"""What the commands say."""

TEXTS: dict[str, dict[str, str]] = {
    # general
    "start": {
        "en": (
            "Hello! Write to me and I will answer. /new starts a new conversation, /stop stops an answer, /help shows the rest."
        ),
        "ru": (
            "Здравствуйте! Напишите мне, и я отвечу. "
            "/new начинает новую беседу, /stop останавливает ответ, /help покажет остальное."
        ),
    },
    "start_admin": {
        "en": "You are an admin here. To let somebody in, send /allow and the code that they got from me, or /allow new.",
        "ru": (
            "Вы здесь администратор. Чтобы открыть кому-то доступ, отправьте /allow и код, "
            "который этот человек получил от меня, или /allow new."
        ),
    },
    "help": {
        "en": (
            "Write to me, and I will answer; I remember our conversation until you begin a new one. "
            "If you correct your last message, I answer again.\n\n"
            "/new – a new conversation\n"
            "/stop – stop the answer\n"
            "/retry – another answer to the last question\n"
            "/settings – language, assistant and persona\n"
            "/stats – your numbers\n"
            "/privacy – what is stored\n"
            "/export – everything that is stored, as a file\n"
            "/forget_me – delete everything"
        ),
        "ru": (
            "Напишите мне, и я отвечу; я помню нашу беседу, пока вы не начнёте новую. "
            "Если вы исправите последнее сообщение, я отвечу заново.\n\n"
            "/new — новая беседа\n"
            "/stop — остановить ответ\n"
            "/retry — другой ответ на последний вопрос\n"
            "/settings — язык, ассистент и роль\n"
            "/stats — ваша статистика\n"
            "/privacy — что хранится\n"
            "/export — всё, что хранится, одним файлом\n"
            "/forget_me — удалить всё"
        ),
    },
    "help_group": {
        "en": (
            "Mention me or reply to one of my messages, and I will answer.\n\n"
            "/new – a new conversation\n/stop – stop the answer\n/retry – another answer\n"
            "/settings – language, assistant and persona (for admins of the group)"
        ),
        "ru": (
            "Упомяните меня или ответьте на моё сообщение, и я отвечу.\n\n"
            "/new — новая беседа\n/stop — остановить ответ\n/retry — другой ответ\n"
            "/settings — язык, ассистент и роль (для администраторов группы)"
        ),
    },
    "help_admin": {
        "en": (
            "For admins:\n"
            "/allow – let somebody in (/allow CODE, ID or @name; /allow new for an invitation)\n"
            "/deny – keep somebody out, at once\n"
            "/broadcast – write to everybody"
        ),
        "ru": (
            "Для администраторов:\n"
            "/allow — открыть доступ (/allow КОД, ID или @имя; /allow new — приглашение)\n"
            "/deny — сразу закрыть доступ\n"
            "/broadcast — написать всем"
        ),
    },
    "no_such_command": {
        "en": "I do not know this command. /help shows those that I know.",
        "ru": "Такой команды я не знаю. /help покажет те, что знаю.",
    },
    "stale_button": {
        "en": "This button is too old. Please send the command again.",
        "ru": "Эта кнопка устарела. Отправьте, пожалуйста, команду ещё раз.",
    },
    "only_in_private": {
        "en": "Please write that to me in our private chat.",
        "ru": "Пожалуйста, напишите мне это в личном чате.",
    },
    # the menu
    "menu_new": {"en": "New conversation", "ru": "Новая беседа"},
    "menu_stop": {"en": "Stop the answer", "ru": "Остановить ответ"},
    "menu_retry": {"en": "Answer again", "ru": "Ответить ещё раз"},
    "menu_settings": {"en": "Language, assistant, persona", "ru": "Язык, ассистент, роль"},
    "menu_stats": {"en": "Your numbers", "ru": "Ваша статистика"},
    "menu_privacy": {"en": "What is stored", "ru": "Что хранится"},
    "menu_export": {"en": "Get your data as a file", "ru": "Получить свои данные файлом"},
    "menu_forget_me": {"en": "Delete all your data", "ru": "Удалить все свои данные"},
    "menu_help": {"en": "What I can do", "ru": "Что я умею"},
    "menu_allow": {"en": "Let somebody in", "ru": "Открыть доступ"},
    "menu_deny": {"en": "Keep somebody out", "ru": "Закрыть доступ"},
    "menu_broadcast": {"en": "Write to everybody", "ru": "Написать всем"},
    # /stats
    "stats": {
        "en": "Conversations: {conversations}\nMessages: {messages}\nAnswers: {answers}\nTokens in answers: {completion_tokens}",
        "ru": "Бесед: {conversations}\nСообщений: {messages}\nОтветов: {answers}\nТокенов в ответах: {completion_tokens}",
    },
    "no_stats": {
        "en": "There is nothing to count yet.",
        "ru": "Пока считать нечего.",
    },
    "stats_all": {
        "en": "The whole service\nPeople: {people}, today: {active_people}\nGroups: {groups}\nNot delivered yet: {open}",
        "ru": "Весь сервис\nЛюдей: {people}, за сутки: {active_people}\nГрупп: {groups}\nЕщё не доставлено: {open}",
    },
    # /privacy, /export, /forget_me
    "privacy": {
        "en": (
            "What is stored: your Telegram ID (not your phone number), your settings, your messages to me and my "
            "answers. They are kept on the "
            "server of whoever runs this bot until you delete them, and nobody else gets them from me. Telegram itself "
            "stores our chat as well.\n\n"
            "My log holds neither what you write nor who you are. Whether you are let in is kept as a fingerprint from which "
            "nobody can tell your ID; it stays when everything else is deleted.\n\n"
            "/export sends you everything. /forget_me deletes it, at once and for good."
        ),
        "ru": (
            "Что хранится: ваш ID в Telegram (это не номер телефона), ваши настройки, ваши сообщения мне "
            "и мои ответы. Они лежат на сервере "
            "владельца этого бота, пока вы их не удалите, и никому другому я их не передаю. Сам Telegram тоже хранит "
            "нашу переписку.\n\n"
            "В моём журнале нет ни ваших сообщений, ни сведений о вас. Открыт ли вам доступ, хранится в виде отпечатка, "
            "по которому нельзя узнать ваш ID; он остаётся, когда всё остальное удалено.\n\n"
            "/export пришлёт вам всё. /forget_me удалит всё сразу и навсегда."
        ),
    },
    "privacy_more": {
        "en": "The full policy: {url}",
        "ru": "Полные условия: {url}",
    },
    "export_started": {
        "en": "I am putting everything together; the file will come in a moment.",
        "ru": "Собираю всё, что хранится; файл сейчас придёт.",
    },
    "export_running": {
        "en": "I am still working on your last export.",
        "ru": "Я ещё готовлю ваш прошлый файл.",
    },
    "export_failed": {
        "en": "The file could not be sent. Please try again later.",
        "ru": "Файл не удалось отправить. Попробуйте, пожалуйста, позже.",
    },
    "export_part": {
        "en": "Part {part} of {parts}. Put together in this order they are one zip file.",
        "ru": "Часть {part} из {parts}. Соединённые по порядку, они составляют один zip-файл.",
    },
    "nothing_stored": {
        "en": "Nothing is stored about you.",
        "ru": "О вас ничего не хранится.",
    },
    "forget_question": {
        "en": (
            "Delete everything that is stored about you: your settings, all conversations, and what you have written in groups "
            "together with my answers? This cannot be undone. The messages in Telegram itself stay."
        ),
        "ru": (
            "Удалить всё, что о вас хранится: настройки, все беседы и написанное вами в группах вместе с моими ответами? "
            "Отменить это будет нельзя. Сообщения в самом Telegram останутся."
        ),
    },
    "button_forget": {"en": "Delete everything", "ru": "Удалить всё"},
    "button_keep": {"en": "Keep it", "ru": "Не удалять"},
    "forget_kept": {
        "en": "Nothing was deleted.",
        "ru": "Ничего не удалено.",
    },
    "forget_expired": {
        "en": "That was too long ago, so nothing was deleted. Send /forget_me again if you still want it.",
        "ru": "Прошло слишком много времени, поэтому ничего не удалено. Если нужно, отправьте /forget_me ещё раз.",
    },
    "forgetting": {"en": "Deleting…", "ru": "Удаляю…"},
    "forgotten": {
        "en": "Everything about you has been deleted. Farewell; if you write to me again, we begin anew.",
        "ru": "Всё, что о вас хранилось, удалено. Всего доброго; если напишете снова, начнём с чистого листа.",
    },
    # /settings
    "settings": {
        "en": "Language: {chosen}\nAssistant: {assistant}\nPersona: {persona}",
        "ru": "Язык: {chosen}\nАссистент: {assistant}\nРоль: {persona}",
    },
    "button_language": {"en": "Language", "ru": "Язык"},
    "button_assistant": {"en": "Assistant", "ru": "Ассистент"},
    "button_persona": {"en": "Persona", "ru": "Роль"},
    "button_back": {"en": "« Back", "ru": "« Назад"},
    "choose_language": {
        "en": "In which language shall I speak about myself? I answer in the language that you write in.",
        "ru": "На каком языке мне говорить о себе? Отвечаю я на том языке, на котором вы пишете.",
    },
    "choose_assistant": {
        "en": "Who shall answer? With another assistant a new conversation begins.",
        "ru": "Кто будет отвечать? С другим ассистентом начнётся новая беседа.",
    },
    "choose_persona": {
        "en": "How shall I answer? Your own words also work so: /settings persona Answer like a pirate.",
        "ru": "Как мне отвечать? Своими словами можно и так: /settings persona Отвечайте как пират.",
    },
    "language_auto": {"en": "as in Telegram", "ru": "как в Telegram"},
    "assistant_default": {"en": "the usual one", "ru": "обычный"},
    "state_ready": {"en": "ready", "ru": "готов"},
    "state_not_ready": {"en": "not ready yet", "ru": "ещё не готов"},
    "persona_none": {"en": "none", "ru": "без роли"},
    "persona_own": {"en": "own words", "ru": "своими словами"},
    "persona_teacher": {"en": "Patient teacher", "ru": "Терпеливый учитель"},
    "persona_editor": {"en": "Editor", "ru": "Редактор"},
    "persona_translator": {"en": "Translator", "ru": "Переводчик"},
    "persona_concise": {"en": "Short answers", "ru": "Краткие ответы"},
    "instructions_teacher": {
        "en": (
            "You are a patient teacher. Explain step by step, in plain words, with a small example, and check for understanding."
        ),
        "ru": "Вы терпеливый учитель. Объясняйте по шагам, простыми словами, с небольшим примером и проверяйте, всё ли понятно.",
    },
    "instructions_editor": {
        "en": (
            "You are an editor. Correct the text you are given and make it clearer without changing its meaning. "
            "Then list what you changed."
        ),
        "ru": "Вы редактор. Исправляйте присланный текст и делайте его яснее, не меняя смысла. Затем перечислите, что изменили.",
    },
    "instructions_translator": {
        "en": "You are a translator. Translate what is not English into English and what is English into Russian. Add nothing.",
        "ru": "Вы переводчик. Переводите русский текст на английский, а любой другой — на русский. Ничего не добавляйте.",
    },
    "instructions_concise": {
        "en": "Answer as briefly as possible: one or two sentences, no introduction and no summary.",
        "ru": "Отвечайте как можно короче: одно-два предложения, без вступления и выводов.",
    },
    "persona_ask": {
        "en": "Describe in a reply to this message how I shall answer.",
        "ru": "Опишите в ответе на это сообщение, как мне отвечать.",
    },
    "persona_set": {
        "en": "From now on I answer as you have described. /settings takes it back.",
        "ru": "Теперь я буду отвечать так, как вы описали. Отменить это можно в /settings.",
    },
    "persona_too_long": {
        "en": "That is too long: {count} characters, and there is room for {limit}.",
        "ru": "Слишком длинно: знаков {count}, а помещается {limit}.",
    },
    "persona_forbidden": {
        "en": "This assistant keeps to its own instructions, so it takes no persona.",
        "ru": "Этот ассистент следует только своим указаниям, поэтому роль задать нельзя.",
    },
    "only_group_admins": {
        "en": "Only admins of this group can change that.",
        "ru": "Изменить это могут только администраторы группы.",
    },
    "saved": {"en": "Saved.", "ru": "Сохранено."},
    # /broadcast
    "broadcast_help": {
        "en": "Send /broadcast with the text, or as a reply to a message with the text.",
        "ru": "Отправьте /broadcast с текстом или в ответ на сообщение с текстом.",
    },
    "broadcast_preview": {
        "en": "This goes to everybody who has a private chat with me.",
        "ru": "Это получат все, у кого есть личный чат со мной.",
    },
    "broadcast_count": {
        "en": " Recipients: up to {count}.",
        "ru": " Получателей: не больше {count}.",
    },
    "button_broadcast": {"en": "Send to everybody", "ru": "Отправить всем"},
    "button_cancel": {"en": "Cancel", "ru": "Отмена"},
    "broadcast_started": {
        "en": "On its way. Recipients: {count}.",
        "ru": "Отправляется. Получателей: {count}.",
    },
    "broadcast_cancelled": {
        "en": "Nothing was sent.",
        "ru": "Ничего не отправлено.",
    },
}
