"""Site boxes: the grants that a box holds, and the certificates of boxes that the centre has settled."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "quota_grant",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("document", sa.String(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("issued", sa.Integer(), nullable=False),
        sa.CheckConstraint("issued <= quantity", name="quota_grant_quota"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "box_certificate",
        sa.Column("number", sa.String(), nullable=False),
        sa.Column("box", sa.String(), nullable=False),
        sa.Column("serial", sa.String(), nullable=False),
        sa.Column("spki", sa.String(), nullable=False),
        sa.Column("certificate", sa.String(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        sqlite_with_rowid=False,
    )
