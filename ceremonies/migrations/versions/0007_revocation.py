"""Revoked certificates; and the numbers of certificates that were issued before numbers were reserved."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

PAGE = 2000


def upgrade() -> None:
    """Create the table, reserve the numbers."""
    op.create_table(
        "revocation",
        sa.Column("ca", sa.String(), nullable=False),
        sa.Column("partition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("revoked_us", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("ca", "partition", "number"),
        sqlite_with_rowid=False,
    )
    _reserve_numbers(op.get_bind())


def _reserve_numbers(connection: sa.Connection) -> None:
    """`number:<40 hex digits>` of every device certificate, for the request that it was issued to (CA-3, OCSP)."""
    after = -1
    select = sa.text(
        "SELECT seq, leaf FROM entry WHERE seq > :after AND type = 'key.sign.outcome' ORDER BY seq LIMIT :page"
    )
    insert = sa.text("INSERT INTO reservation (name, owner, seq) VALUES (:name, :owner, :seq) ON CONFLICT DO NOTHING")
    while rows := connection.execute(select, {"after": after, "page": PAGE}).all():
        found = []
        for seq, leaf in rows:
            after = seq
            entry = json.loads(bytes(leaf))
            what = entry.get("op", {}).get("what", {})
            if "work_order" in what and "certificate_number" in what and entry["out"]["status"] == "ok":
                name = f"number:{int(what['certificate_number'], 16):040x}"
                found.append({"name": name, "owner": entry["req"], "seq": entry["ref"]["i"]})
        if found:
            connection.execute(insert, found)
