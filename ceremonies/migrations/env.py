"""Alembic's entry: migrations run on the connection that the store gives, inside its transaction."""

from alembic import context

from ceremonies import revocation_tables  # noqa: F401  # its table belongs to the schema
from ceremonies.tables import EntryRow

context.configure(
    connection=context.config.attributes["connection"], target_metadata=EntryRow.metadata, render_as_batch=True
)
context.run_migrations()
