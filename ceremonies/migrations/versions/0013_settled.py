"""Certificates of site boxes: which profile and class, and the settlements that accepted and confirmed them."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Certificates that were settled before are accepted by none: their devices are refused as callers, as before."""
    for name in ("profile", "class_name"):
        op.add_column("box_certificate", sa.Column(name, sa.String(), nullable=False, server_default=""))
    for name in ("settled", "confirmed"):
        op.add_column("box_certificate", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
    op.create_index(op.f("ix_box_certificate_certificate"), "box_certificate", ["certificate"], unique=False)
