"""Registers the assistant that the settings name, as soon as PostgreSQL and its tables are there."""

import asyncio
import logging

from sqlalchemy.exc import DBAPIError

from ai_assistant import assistants
from ai_assistant.database.session import Database
from ai_assistant.errors import DatabaseUnavailableError
from ai_assistant.settings import GatewaySettings

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0


async def register_from_settings(database: Database, settings: GatewaySettings) -> None:
    """Returns when it is done; tries for as long as that takes."""
    name = settings.assistant
    if name is None:
        return
    defaults = {"max_tokens": settings.max_tokens, "temperature": settings.temperature, "top_p": settings.top_p}
    told = False
    while True:
        try:
            async with database.session() as session:
                await assistants.register(session, name, instructions=settings.instructions, defaults=defaults)
        except (DatabaseUnavailableError, DBAPIError) as error:  # away, or not migrated yet
            if not told:
                logger.warning("The assistant %s will be registered when the database is ready (%s)", name, type(error).__name__)
                told = True
            await asyncio.sleep(RETRY_SECONDS)
        else:
            logger.info("The assistant %s is registered", name)
            return
