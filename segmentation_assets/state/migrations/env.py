"""Alembic's entry point: migrates on the connection that `store.open_state` hands over, in its transaction."""

from alembic import context

from segmentation_assets.state.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    transactional_ddl=True,  # SQLite can: a migration that is killed half-way leaves nothing behind
)
with context.begin_transaction():
    context.run_migrations()
