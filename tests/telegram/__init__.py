"""A Telegram of our own: the Bot API on loopback, as strict as the real one, with people and faults under the test's control.

    with started_bot_api() as api:            # speed=10: ten seconds of Telegram's clock in a real one
        bot = Bot(TOKEN, AiohttpSession(api=TelegramAPIServer.from_base(api.url)))
        anna = api.person(7, language="ru")   # api.say(text, user=7) is the short way
        anna.says("Привет!")                  # also: mentions_bot, pastes, sends, edits, presses, stops, topic, blocks
        team = api.group(-100, [anna], forum=True)
        anna.mentions_bot("What is the time?", team, thread_id=team.topic())
        api.wait_for(2)                       # the bot's texts as they read now

People write (`people`, `groups`), the bot calls (`methods`, `messages`, `drafts`, `bot_profile`, `updates`, `webhook`), and both
change what is in `chats`. `record` keeps every call, sent message and typing; `drafts.frames` every draft with its time.

`faults` makes calls go wrong: `api.faults.next(faults.flood(2), "sendMessage")`, or `api.faults.chances = Chances(seed=1,
flood=0.1, server_error=0.05)`. A 429 opens the chat's RetryAfter window: calls inside it get another 429 and are written down
in `api.flood.violations`, which a test asserts to be empty. `api.flood.limits = Limits()` switches Telegram's own limits on.
`api.stop()` and `api.start()` are an outage: connections are refused and nothing is forgotten. `api.clock.advance(30)` lets
drafts and windows end without waiting.

Not here, and refused: parse_mode, inline messages, files by id or URL, business connections, channels. Differences on purpose:
entities that break a documented rule are refused with "can't parse entities" where Telegram drops some of them in silence, and
webhooks may be http:// on loopback. `entity_rules.violations(text, entities)` needs no server.
"""

from telegram import faults
from telegram.api import BOT, TOKEN, BotApi, started_bot_api
from telegram.chats import Message
from telegram.faults import Chances, Fault
from telegram.flood import Limits
from telegram.groups import Group
from telegram.people import Person

__all__ = ["BOT", "TOKEN", "BotApi", "Chances", "Fault", "Group", "Limits", "Message", "Person", "faults", "started_bot_api"]
