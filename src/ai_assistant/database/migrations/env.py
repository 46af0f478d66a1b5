"""Alembic's entry: runs on the connection that ai_assistant.database.migrate passes in."""

from alembic import context
from sqlalchemy import Connection

from ai_assistant.database.models import Base

connection = context.config.attributes.get("connection")
if not isinstance(connection, Connection):
    raise TypeError("run migrations by `ai-assistant migrate`")

context.configure(connection=connection, target_metadata=Base.metadata, compare_server_default=True)
with context.begin_transaction():
    context.run_migrations()
