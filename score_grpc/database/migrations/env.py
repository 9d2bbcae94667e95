"""Run by Alembic: migrates over the connection that the caller put into the configuration."""

from alembic import context

context.configure(connection=context.config.attributes.get("connection"))
with context.begin_transaction():
    context.run_migrations()
