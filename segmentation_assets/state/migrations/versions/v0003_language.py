"""Calls of language models, what servers can do, and texts that people wrote."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the three tables."""
    op.create_table(
        "model_calls",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        *(
            sa.Column(name, sa.String(), nullable=False)
            for name in (
                "request_key", "run_id", "task", "item", "prompt_version", "answer_version", "provider",
                "model_asked", "model_answered",
            )
        ),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("messages", sa.JSON(), nullable=False),
        sa.Column("answer", sa.String(), nullable=False),
        sa.Column("error", sa.String(), nullable=False),
        sa.Column("input_tokens", sa.Integer(), nullable=False),
        sa.Column("output_tokens", sa.Integer(), nullable=False),
        sa.Column("is_estimated", sa.Boolean(), nullable=False),
        sa.Column("cost_amount", sa.String(), nullable=True),
        sa.Column("latency_seconds", sa.Double(), nullable=False),
        sa.Column("is_cache_hit", sa.Boolean(), nullable=False),
        sa.Column("called_at", sa.DateTime(), nullable=False),
    )  # fmt: skip
    op.create_index("ix_model_calls_request_key", "model_calls", ["request_key"])
    op.create_index("ix_model_calls_run_id", "model_calls", ["run_id"])
    op.create_table(
        "language_servers",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("base_url", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("capabilities", sa.JSON(), nullable=False),
        sa.Column("probed_at", sa.DateTime(), nullable=False),
        sa.UniqueConstraint("base_url", "model", name="uq_language_servers_base_url_model"),
    )
    op.create_table(
        "edits",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        *(sa.Column(name, sa.String(), nullable=False) for name in ("kind", "item", "field", "template", "typed")),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("edited_at", sa.DateTime(), nullable=False),
        sa.CheckConstraint("kind in ('name', 'profile', 'strategy', 'draft')", name="ck_edits_kind"),
    )
    op.create_index("ix_edits_kind_item_field", "edits", ["kind", "item", "field"])
