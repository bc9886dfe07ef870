"""The revoked certificates of a CA's partition, read from the rows and compared with what the journal says.

Nobody can lose a revocation: before a list is signed, before an answer says `good`, and before another certificate of
the partition is revoked, count and digest of its rows must be those of the journal.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, select

from ceremonies.journal import RESTORE, JournalForked
from ceremonies.revocation_tables import RevocationRow
from ceremonies.revoked import COMPLETE, RevokedRow, tally_rows
from ceremonies.store import table_of
from ceremonies.sums import Tally

Partition = tuple[str, int]
"""A CA (SPKI digest), and one of its partitions, or COMPLETE for all."""


def read_partition(connection: Connection, at: Partition, expected: Tally) -> Sequence[RevokedRow]:
    """The rows of a partition, ordered by number. Raises JournalForked unless they are those of the journal."""
    ca, partition = at
    column = table_of(RevocationRow).c
    query = select(column.number, column.reason, column.revoked_us, column.seq).where(column.ca == ca)
    if partition != COMPLETE:
        query = query.where(column.partition == partition)
    rows = [RevokedRow(*row) for row in connection.execute(query.order_by(column.number))]
    if tally_rows(ca, rows) != expected:
        raise JournalForked(
            f"revocation: {len(rows)} rows of partition {partition} of CA {ca[:16]} are not the {expected.count} that "
            "the journal says",
            hint=RESTORE,
        )
    return rows
