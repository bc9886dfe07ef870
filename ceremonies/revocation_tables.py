"""The row of a revoked certificate: an index over the journal's entries, compared with them before a list is signed."""

from typing import ClassVar

from sqlalchemy import BigInteger, Column
from sqlmodel import Field, SQLModel

from ceremonies.tables import CLUSTERED


class RevocationRow(SQLModel, table=True):
    """A certificate that its CA (SPKI digest) revoked: its number in 40 hex digits, and the entry that says so.

    `partition` is the top 6 of the number's 159 bits: rows of one list lie side by side.
    """

    __tablename__ = "revocation"
    __table_args__: ClassVar[dict[str, bool]] = CLUSTERED
    ca: str = Field(primary_key=True)
    partition: int = Field(primary_key=True)
    number: str = Field(primary_key=True)
    reason: str
    revoked_us: int = Field(sa_column=Column(BigInteger, nullable=False))
    seq: int = Field(sa_column=Column(BigInteger, nullable=False))
