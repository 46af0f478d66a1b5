"""What a chat bot needs: plans and previews of deliveries, broadcasts, authors in groups, personas.

Everything is new and may be missing, so the previous release works on these tables too: what it does not know it leaves out,
and it does not see the deliveries that have no task.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "broadcasts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("targets", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_broadcasts")),
        sa.UniqueConstraint("channel", "key", name=op.f("uq_broadcasts_channel_key")),
    )
    op.alter_column("deliveries", "task_id", existing_type=sa.Uuid(), nullable=True)
    op.add_column("deliveries", sa.Column("broadcast_id", sa.Uuid()))
    op.add_column("deliveries", sa.Column("plan", postgresql.JSONB()))
    op.add_column("deliveries", sa.Column("preview_message_id", sa.BigInteger()))
    op.create_foreign_key(
        op.f("fk_deliveries_broadcast_id"), "deliveries", "broadcasts", ["broadcast_id"], ["id"], ondelete="CASCADE"
    )
    op.create_check_constraint(op.f("ck_deliveries_content"), "deliveries", "(task_id IS NULL) <> (broadcast_id IS NULL)")
    op.create_unique_constraint(
        op.f("uq_deliveries_broadcast_id_target_key"), "deliveries", ["broadcast_id", "target_key"]
    )
    op.create_index(op.f("ix_deliveries_channel_target_key"), "deliveries", ["channel", "target_key"])

    op.add_column("messages", sa.Column("author_id", sa.Uuid()))
    op.create_foreign_key(op.f("fk_messages_author_id"), "messages", "users", ["author_id"], ["id"], ondelete="SET NULL")
    op.create_index(
        op.f("ix_messages_author_id"), "messages", ["author_id"], postgresql_where=sa.text("author_id IS NOT NULL")
    )
    op.add_column("tasks", sa.Column("author_id", sa.Uuid()))
    op.add_column("tasks", sa.Column("persona", sa.Text()))
    op.create_foreign_key(op.f("fk_tasks_author_id"), "tasks", "users", ["author_id"], ["id"], ondelete="SET NULL")
    op.create_index(op.f("ix_tasks_author_id"), "tasks", ["author_id"], postgresql_where=sa.text("author_id IS NOT NULL"))
    op.create_index(op.f("ix_tasks_user_message_id"), "tasks", ["user_message_id"])


def downgrade() -> None:
    op.drop_index(op.f("ix_tasks_user_message_id"), "tasks")
    op.drop_column("tasks", "persona")
    op.drop_column("tasks", "author_id")
    op.drop_column("messages", "author_id")
    # what has no task cannot be told to the version before
    op.execute("DELETE FROM deliveries WHERE task_id IS NULL")
    op.drop_index(op.f("ix_deliveries_channel_target_key"), "deliveries")
    op.drop_constraint(op.f("ck_deliveries_content"), "deliveries", type_="check")
    op.drop_column("deliveries", "preview_message_id")
    op.drop_column("deliveries", "plan")
    op.drop_column("deliveries", "broadcast_id")
    op.alter_column("deliveries", "task_id", existing_type=sa.Uuid(), nullable=False)
    op.drop_table("broadcasts")
