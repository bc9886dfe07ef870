"""Triggers refuse to change or delete entries; numbers of 32 bits and more fit their columns."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Hygiene against mistakes: whoever owns the database can drop a trigger. That entries stay is shown by the tree.
POSTGRESQL = (
    """CREATE FUNCTION entry_is_final() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'entries of the journal are final'; END $$""",
    """CREATE TRIGGER entry_is_final BEFORE UPDATE OR DELETE OR TRUNCATE ON entry
    FOR EACH STATEMENT EXECUTE FUNCTION entry_is_final()""",
)
SQLITE = tuple(
    f"""CREATE TRIGGER entry_is_final_{verb.lower()} BEFORE {verb} ON entry
    BEGIN SELECT RAISE(ABORT, 'entries of the journal are final'); END"""
    for verb in ("UPDATE", "DELETE")
)
WIDE = {"counter_update": ("sequence", "floor"), "receipt": ("sequence",), "release": ("security_version", "sequence")}


def upgrade() -> None:
    """Add the triggers, widen the columns."""
    for statement in POSTGRESQL if op.get_context().dialect.name == "postgresql" else SQLITE:
        op.execute(statement)
    for table, columns in WIDE.items():
        with op.batch_alter_table(table) as batch:
            for column in columns:
                batch.alter_column(
                    column, type_=sa.BigInteger(), existing_type=sa.Integer(), existing_nullable=False
                )  # fmt: skip
