"""The register: where devices are after the factory; baselines; the newest receipt of a device by one look."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables; of devices that were issued before, nothing is known but that."""
    op.create_table(
        "register",
        sa.Column("serial", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("operator", sa.String(), nullable=False),
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("rack", sa.String(), nullable=False),
        sa.Column("asset", sa.String(), nullable=False),
        sa.Column("link", sa.String(), nullable=False),
        sa.Column("since_us", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("serial"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_register_site", "register", ["site"])
    op.create_table(
        "register_request",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "baseline",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("document", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("sequence"),
    )
    op.drop_index("ix_receipt_ueid", "receipt")
    op.create_index("receipt_by_device", "receipt", ["ueid", "sequence"])
