"""Campaigns: what a person approved, what was sent, what came back, and who does not want it."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.String(), nullable=False)


def _moment(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(), nullable=nullable)


def _json(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.JSON(), nullable=False)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "state_values", sa.Column("name", sa.String(), primary_key=True), _json("value"),
    )  # fmt: skip
    op.create_table(
        "campaigns",
        sa.Column("campaign_id", sa.String(), primary_key=True), _text("name"), _text("status"), _json("content"),
        _json("digests"), _json("counts"), _text("primary_metric"),
        sa.Column("window_days", sa.Integer(), nullable=False), sa.Column("control_share", sa.Double(), nullable=False),
        sa.Column("is_aa", sa.Boolean(), nullable=False), sa.Column("is_scheduled", sa.Boolean(), nullable=False),
        _moment("starts_at"), _moment("not_after"), _moment("created_at"),
        sa.CheckConstraint(
            "status in ('approved', 'rejected', 'voided', 'sending', 'sent', 'cancelled')", name="ck_campaigns_status"
        ),
    )  # fmt: skip
    op.create_table(
        "approvals",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True), _text("campaign_id"), _text("decision"),
        _text("person"), _text("reason"), _json("digests"), _moment("decided_at"), _moment("expires_at", nullable=True),
        sa.CheckConstraint("decision in ('approved', 'rejected', 'voided')", name="ck_approvals_decision"),
    )  # fmt: skip
    op.create_index("ix_approvals_campaign_id", "approvals", ["campaign_id"])
    op.create_table(
        "sends",
        sa.Column("send_id", sa.String(), primary_key=True), _text("campaign_id"), _text("customer_id"), _text("arm"),
        _text("variant"), _text("status"), _text("reason"), _text("timezone"), _text("product_ids"),
        sa.Column("tries", sa.Integer(), nullable=False), _moment("next_try_at"), _moment("not_after"),
        _text("claimed_by"), _moment("finished_at", nullable=True), sa.Column("smtp_code", sa.Integer(), nullable=True),
        _text("smtp_reply"), _text("address_hash"),
        sa.UniqueConstraint("campaign_id", "customer_id", name="uq_sends_campaign_id_customer_id"),
        sa.CheckConstraint("arm in ('treated', 'control', 'hold_out')", name="ck_sends_arm"),
        sa.CheckConstraint(
            "status in ('pending', 'claimed', 'sent', 'failed', 'uncertain', 'expired', 'skipped', 'ghost')",
            name="ck_sends_status",
        ),
    )  # fmt: skip
    op.create_index("ix_sends_campaign_id_status_next_try_at", "sends", ["campaign_id", "status", "next_try_at"])
    op.create_index("ix_sends_campaign_id_address_hash", "sends", ["campaign_id", "address_hash"])
    op.create_index("ix_sends_customer_id", "sends", ["customer_id"])
    op.create_table(
        "send_events",
        sa.Column("event_id", sa.String(), primary_key=True), _text("send_id"), _text("campaign_id"),
        _text("customer_id"), _text("kind"), _moment("occurred_at"), sa.Column("link", sa.Integer(), nullable=True),
        _text("source"), _text("method"), _text("user_agent"), _text("network"),
        sa.CheckConstraint(
            "kind in ('delivered', 'open', 'click', 'unsubscribe', 'complaint', 'hard_bounce', 'soft_bounce')",
            name="ck_send_events_kind",
        ),
    )  # fmt: skip
    op.create_index("ix_send_events_send_id", "send_events", ["send_id"])
    op.create_index("ix_send_events_campaign_id", "send_events", ["campaign_id"])
    op.create_table(
        "suppressions",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True), _text("address_hash"),
        _text("customer_id"), _text("kind"), _text("source"), _text("campaign_id"), _moment("created_at"),
        sa.UniqueConstraint(
            "address_hash", "customer_id", "kind", name="uq_suppressions_address_hash_customer_id_kind"
        ),
        sa.CheckConstraint(
            "kind in ('unsubscribe', 'complaint', 'hard_bounce', 'forgotten', 'manual')", name="ck_suppressions_kind"
        ),
    )  # fmt: skip
    op.create_index("ix_suppressions_customer_id", "suppressions", ["customer_id"])
    op.create_table(
        "forgotten",
        sa.Column("customer_hash", sa.String(), primary_key=True), _text("address_hash"), _moment("forgotten_at"),
    )  # fmt: skip
    op.create_table(
        "profiling_opt_outs",
        sa.Column("customer_id", sa.String(), primary_key=True), sa.Column("is_active", sa.Boolean(), nullable=False),
        _moment("changed_at"),
    )  # fmt: skip
    op.create_table(
        "audit_entries",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True), _text("action"), _text("subject"),
        _text("person"), _json("detail"), _moment("happened_at"),
    )  # fmt: skip
