"""Keys that live in secure elements and TPMs."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; of keys that were certified before, nothing is known."""
    op.create_table(
        "element",
        sa.Column("spki", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("ident", sa.String(), nullable=False),
        sa.Column("serial", sa.String(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("spki"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_element_ident", "element", ["ident"])
    op.create_index("ix_element_serial", "element", ["serial"])
