"""How a model assigns when the nearest centroid is not the answer, and what the customers of its fit looked like."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both to the models; those stored before have neither."""
    op.add_column("segment_models", sa.Column("clusterer", sa.JSON(), nullable=True))
    op.add_column("segment_models", sa.Column("reference", sa.JSON(), nullable=True))
