"""Run by Alembic with an open connection; see `runtime_grpc.database`."""

from alembic import context

from song_grpc.database.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
