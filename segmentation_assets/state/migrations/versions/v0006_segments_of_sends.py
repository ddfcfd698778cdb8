"""The segments of a customer when the campaign was planned: afterwards its own effect moves people between them."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add both to the sends; of campaigns begun before nobody knows them."""
    for name in ("taste_segment_id", "stage_segment_id"):
        op.add_column("sends", sa.Column(name, sa.String(), nullable=False, server_default=""))
