"""Alembic's entry: migrations run on the connection that the store gives, inside its transaction."""

from alembic import context

from ceremonies.element_tables import ElementRow
from ceremonies.fleet_tables import RegisterRow
from ceremonies.grant_tables import QuotaGrantRow
from ceremonies.ldevid_tables import LdevidRow
from ceremonies.revocation_tables import RevocationRow
from ceremonies.tables import EntryRow
from ceremonies.unit_tables import ConfirmationRow

TABLES = (EntryRow, ConfirmationRow, ElementRow, QuotaGrantRow, RegisterRow, RevocationRow, LdevidRow)
"""One row of each module that has some: all of them share their metadata."""

context.configure(
    connection=context.config.attributes["connection"], target_metadata=TABLES[0].metadata, render_as_batch=True
)
context.run_migrations()
