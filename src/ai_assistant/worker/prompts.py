"""A task's prompt. It is the same for every attempt: earlier turns are final when a task becomes eligible."""

import asyncio
from typing import TYPE_CHECKING, Any

from ai_assistant.conversations import line_to
from ai_assistant.database.session import Database
from ai_assistant.engine.prompt import build_prompt
from ai_assistant.errors import DatabaseUnavailableError, InvalidRequestError
from ai_assistant.tasks.claim import ClaimedTask

if TYPE_CHECKING:
    from ai_assistant.engine.tokenizer import Tokenizer

MIN_ANSWER_SHARE = 4
"""At least a quarter of the context is kept for the answer, unless it is asked to be shorter."""
RETRY = 0.5


async def prompt_ids(task: ClaimedTask, database: Database, tokenizer: "Tokenizer", max_context: int) -> list[int]:
    """Token ids of the prompt, trimmed to the context. Raises PromptTooLongError; waits while PostgreSQL is away."""
    messages = await prompt_messages(task, database)
    # a long history takes a while: not on the loop that carries everybody's tokens
    return await asyncio.to_thread(build_prompt, tokenizer, messages, max_prompt_tokens=prompt_share(task, max_context))


def prompt_share(task: ClaimedTask, max_context: int) -> int:
    """Tokens of the context that the prompt may take."""
    return max_context - min(int(task.sampling["max_tokens"]), max(1, max_context // MIN_ANSWER_SHARE))


async def prompt_messages(task: ClaimedTask, database: Database) -> list[dict[str, str]]:
    """Role and text of all that the model should read, untrimmed; waits while PostgreSQL is away."""
    messages = task.messages if task.messages is not None else await read_line(task, database)
    prompt = [{"role": item["role"], "content": item["content"]} for item in messages]
    if task.instructions and not any(item["role"] == "system" for item in prompt):
        prompt.insert(0, {"role": "system", "content": task.instructions})
    return prompt


async def read_line(task: ClaimedTask, database: Database) -> list[dict[str, Any]]:
    """The turns of the conversation that lead to the task's message."""
    if task.user_message_id is None:
        raise InvalidRequestError("The task has neither messages nor a conversation.")
    while True:
        try:
            async with database.session() as session:
                return await line_to(session, task.user_message_id)
        except DatabaseUnavailableError:
            await asyncio.sleep(RETRY)
