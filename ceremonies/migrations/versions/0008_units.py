"""Units: confirmed, scrapped, replaced; the quota of rework."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables; a store of an earlier release has no such units."""
    op.create_table(
        "confirmation",
        sa.Column("serial", sa.String(), nullable=False),
        sa.Column("certificate", sa.String(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("serial", "certificate"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "scrap",
        sa.Column("serial", sa.String(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("serial"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "replaced_device",
        sa.Column("serial", sa.String(), nullable=False),
        sa.Column("certificate", sa.String(), nullable=False),
        sa.Column("spki", sa.String(), nullable=False),
        sa.Column("ueid", sa.String(), nullable=False),
        sa.Column("work_order", sa.String(), nullable=False),
        sa.Column("class_name", sa.String(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("successor", sa.String(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("serial", "certificate"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "rework_quota",
        sa.Column("work_order", sa.String(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("opened", sa.Integer(), nullable=False),
        sa.CheckConstraint("opened <= quantity", name="rework_quota_holds"),
        sa.PrimaryKeyConstraint("work_order"),
    )
