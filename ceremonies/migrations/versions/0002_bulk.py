"""Bulk work touches fewer pages: its blobs by their entry, tables clustered by their keys, one index less.

A device's ueid follows from its spki, whose index is enough to find it and to keep it from coming twice.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

CLUSTERED = {
    "device": (
        sa.Column("serial", sa.String(), nullable=False),
        sa.Column("spki", sa.String(), nullable=False),
        sa.Column("ueid", sa.String(), nullable=False),
        sa.Column("work_order", sa.String(), nullable=False),
        sa.Column("class_name", sa.String(), nullable=False),
        sa.Column("certificate", sa.String(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("serial"),
        sa.UniqueConstraint("spki"),
    ),
    "document": (
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("sha256"),
    ),
    "request": (
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("body", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("recipe", sa.LargeBinary(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.BigInteger(), nullable=True),
        sa.Column("document", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    ),
    "reservation": (
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    ),
}
INDEXES = {"device": "work_order", "document": "seq"}


def upgrade() -> None:
    """Create the table of evidence; blobs that are there stay where they are. SQLite clusters by copying."""
    op.create_table(
        "evidence",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq", "part"),
        sqlite_with_rowid=False,
    )
    if op.get_bind().dialect.name != "sqlite":
        op.drop_constraint("device_ueid_key", "device", type_="unique")
        return
    for table, columns in CLUSTERED.items():
        if table in INDEXES:
            op.drop_index(op.f(f"ix_{table}_{INDEXES[table]}"), table)
        op.rename_table(table, f"old_{table}")
        op.create_table(table, *columns, sqlite_with_rowid=False)
        op.execute(f"INSERT INTO {table} SELECT * FROM old_{table}")  # noqa: S608  # the names above
        op.drop_table(f"old_{table}")
        if table in INDEXES:
            op.create_index(op.f(f"ix_{table}_{INDEXES[table]}"), table, [INDEXES[table]], unique=False)
