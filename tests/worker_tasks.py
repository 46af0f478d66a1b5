"""Tasks as a worker has claimed them."""

import datetime
import uuid

from ai_assistant.tasks.claim import ClaimedTask


def make_task(**changes: object) -> ClaimedTask:
    now = datetime.datetime.now(datetime.UTC)
    values: dict[str, object] = {
        "id": uuid.uuid4(),
        "assistant": "assistant",
        "attempt": 1,
        "takeovers": 0,
        "user_id": uuid.uuid4(),
        "conversation_id": None,
        "user_message_id": None,
        "answer_message_id": None,
        "messages": [],
        "instructions": None,
        "sampling": {"max_tokens": 100, "seed": 1},
        "request_id": None,
        "checkpoint_ids": None,
        "checkpoint_text": "",
        "tokenizer": None,
        "created_at": now,
        "started_at": now,
        "first_token_at": None,
        "seconds_left": 60.0,
        "waited_seconds": 0.1,
    }
    return ClaimedTask(**{**values, **changes})  # type: ignore[arg-type]
