"""Products that marketers chose."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "product_choices",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("product_id", sa.String(), nullable=False),
        sa.Column("discount_share", sa.Double(), nullable=True),
        sa.Column("audience_customers", sa.Integer(), nullable=True),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("chosen_at", sa.DateTime(), nullable=False),
        sa.CheckConstraint("discount_share >= 0 and discount_share < 1", name="ck_product_choices_discount_share"),
        sa.CheckConstraint("audience_customers >= 1", name="ck_product_choices_audience_customers"),
    )
    op.create_index("ix_product_choices_product_id", "product_choices", ["product_id"])
