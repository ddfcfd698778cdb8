"""Segment identities, frozen models, identity events and run snapshots."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the first tables."""
    op.create_table(
        "segment_models",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("axis", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("algorithm", sa.String(), nullable=False),
        sa.Column("k", sa.Integer(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("customers_at_fit", sa.Integer(), nullable=False),
        sa.Column("features", sa.JSON(), nullable=False),
        sa.Column("preprocessing", sa.JSON(), nullable=False),
        sa.Column("centroids", sa.JSON(), nullable=False),
        sa.Column("as_of", sa.Date(), nullable=False),
        sa.Column("created_by_run", sa.String(), nullable=False),
        sa.UniqueConstraint("axis", "version", name="uq_segment_models_axis_version"),
    )
    op.create_table(
        "segment_identities",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("axis", sa.String(), nullable=False),
        sa.Column("segment_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("first_version", sa.Integer(), nullable=False),
        sa.Column("last_version", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.UniqueConstraint("axis", "segment_id", name="uq_segment_identities_axis_segment_id"),
        sa.CheckConstraint("status in ('alive', 'ended')", name="ck_segment_identities_status"),
    )
    op.create_table(
        "segment_versions",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("axis", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("segment_id", sa.String(), nullable=False),
        sa.Column("cluster_index", sa.Integer(), nullable=False),
        sa.Column("customers", sa.Integer(), nullable=False),
        sa.UniqueConstraint("axis", "version", "segment_id", name="uq_segment_versions_axis_version_segment_id"),
        sa.UniqueConstraint("axis", "version", "cluster_index", name="uq_segment_versions_axis_version_cluster_index"),
        sa.ForeignKeyConstraint(
            ["axis", "version"],
            ["segment_models.axis", "segment_models.version"],
            name="fk_segment_versions_axis_version",
        ),
        sa.ForeignKeyConstraint(
            ["axis", "segment_id"],
            ["segment_identities.axis", "segment_identities.segment_id"],
            name="fk_segment_versions_axis_segment_id",
        ),
    )
    op.create_table(
        "identity_events",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("axis", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("segment_id", sa.String(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.CheckConstraint("kind in ('birth', 'death', 'split', 'merge', 'rename')", name="ck_identity_events_kind"),
        sa.ForeignKeyConstraint(
            ["axis", "version"],
            ["segment_models.axis", "segment_models.version"],
            name="fk_identity_events_axis_version",
        ),
    )
    op.create_index("ix_identity_events_axis_version", "identity_events", ["axis", "version"])
    op.create_table(
        "run_snapshots",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("run_key", sa.String(), nullable=False),
        sa.Column("as_of", sa.Date(), nullable=False),
        sa.Column("source_fingerprint", sa.String(), nullable=False),
        sa.Column("axis", sa.String(), nullable=False),
        sa.Column("segment_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("customers", sa.Integer(), nullable=False),
        sa.Column("reachable_customers", sa.Integer(), nullable=False),
        sa.Column("revenue_amount", sa.String(), nullable=False),
        sa.UniqueConstraint("run_key", "axis", "segment_id", name="uq_run_snapshots_run_key_axis_segment_id"),
    )
