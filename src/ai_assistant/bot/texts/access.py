"""What those hear who may not, or not now."""

TEXTS: dict[str, dict[str, str]] = {
    "stranger": {
        "en": "I only talk to people I know. If you should be one of them, send your Telegram ID to whoever runs this bot: {id}",
        "ru": "Я разговариваю только со знакомыми. Если вам нужен доступ, сообщите владельцу бота ваш Telegram ID: {id}",
    },
    "stranger_pairing": {
        "en": (
            "I only talk to people I know. Send whoever runs this bot your code {code}: they let you in by writing to me "
            "/allow {code}. The code is good for an hour. Your Telegram ID is {id}."
        ),
        "ru": (
            "Я разговариваю только со знакомыми. Сообщите владельцу бота ваш код {code}: он откроет вам доступ, написав мне "
            "/allow {code}. Код действует один час. Ваш Telegram ID — {id}."
        ),
    },
    "stranger_no_owner": {
        "en": "Nobody has set me up yet. If this is your bot, open the link that you find in its log. Your Telegram ID is {id}.",
        "ru": "Меня ещё не настроили. Если это ваш бот, откройте ссылку, которую найдёте в его журнале. Ваш Telegram ID — {id}.",
    },
    "group_stranger": {
        "en": "I have not been let into this group. An admin of mine can do that with /allow {id}.",
        "ru": "У меня нет разрешения работать в этой группе. Мой администратор может дать его командой /allow {id}.",
    },
    "denied": {
        "en": "I am not allowed to talk to you. Please turn to whoever runs this bot.",
        "ru": "Мне нельзя с вами разговаривать. Обратитесь, пожалуйста, к владельцу бота.",
    },
    "wrong_code": {
        "en": "This code is wrong or too old. Please ask for a new one.",
        "ru": "Этот код неверен или устарел. Попросите, пожалуйста, новый.",
    },
    "welcome": {
        "en": "You have been let in. Write to me, and I will answer. /help shows what I can do.",
        "ru": "Доступ открыт. Напишите мне, и я отвечу. /help покажет, что я умею.",
    },
    "owner_welcome": {
        "en": (
            "I am yours now. Write to me, and I will answer.\n\n"
            "Nobody else gets in without you: strangers get a code from me, and you let them in with /allow CODE. "
            "/allow new makes an invitation. /help shows the rest."
        ),
        "ru": (
            "Теперь я ваш. Напишите мне, и я отвечу.\n\n"
            "Без вас никто больше не войдёт: незнакомые люди получают от меня код, и вы открываете им доступ командой "
            "/allow КОД. /allow new создаёт приглашение. Остальное покажет /help."
        ),
    },
    "message_waits": {
        "en": "The assistant cannot be reached right now. I keep your message and pass it on as soon as that works again.",
        "ru": "Сейчас ассистент недоступен. Я сохраню ваше сообщение и передам его, как только связь восстановится.",
    },
    "throttled": {
        "en": "That is too fast for me, so I skipped your last message. Please send it again in {seconds} s.",
        "ru": "Слишком быстро: последнее сообщение я пропустил. Отправьте его, пожалуйста, ещё раз через {seconds} с.",
    },
    "allow_help": {
        "en": (
            "Whom? /allow CODE for the code that somebody got from me, /allow 12345 for an ID, /allow @name for a name. "
            "As a reply it lets in the person who wrote, in a group on its own the group. /allow new makes an invitation."
        ),
        "ru": (
            "Кого? /allow КОД — по коду, который человек получил от меня, /allow 12345 — по ID, /allow @имя — по имени. "
            "В ответ на сообщение — его автора, в группе без ответа — всю группу. /allow new создаёт приглашение."
        ),
    },
    "deny_help": {
        "en": (
            "Whom? /deny 12345 for an ID, /deny @name for a name. As a reply it keeps out the person who wrote, "
            "in a group on its own the group."
        ),
        "ru": (
            "Кого? /deny 12345 — по ID, /deny @имя — по имени. В ответ на сообщение — его автора, "
            "в группе без ответа — всю группу."
        ),
    },
    "no_such_code": {
        "en": "I do not know this code, or it is older than an hour. The person can write to me for a new one.",
        "ru": "Я не знаю этого кода, или он старше часа. Человек может написать мне и получить новый.",
    },
    "invitation": {
        "en": "An invitation for one person, good for an hour:\n{link}\n\nThe code itself is {code}: /start {code}",
        "ru": "Приглашение для одного человека, действует один час:\n{link}\n\nСам код — {code}: /start {code}",
    },
    "allowed": {
        "en": "Let in: {who}",
        "ru": "Доступ открыт: {who}",
    },
    "denied_done": {
        "en": "Kept out: {who}. Answers stopped: {count}.",
        "ru": "Доступ закрыт: {who}. Остановлено ответов: {count}.",
    },
    "is_admin": {
        "en": "{who} is an admin. Admins come from the settings and from the bot's log, so neither command changes that.",
        "ru": "{who} — администратор. Их назначают в настройках или через журнал бота, и эти команды их не касаются.",
    },
}
