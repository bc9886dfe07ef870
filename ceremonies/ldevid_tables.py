"""The row of a device's LDevID: an index over the journal's entries, compared with them (`ceremonies.ldevids`)."""

from typing import ClassVar

from sqlalchemy import BigInteger, Column
from sqlmodel import Field, SQLModel

from ceremonies.tables import CLUSTERED


class LdevidRow(SQLModel, table=True):
    """The newest LDevID of a device: those before it were revoked when it was issued. Its CA (SPKI digest), its number
    in 40 hex digits, its document and key, its validity (RFC 3339, UTC); `seq` is the entry that released it.
    """

    __tablename__ = "ldevid"
    __table_args__: ClassVar[dict[str, bool]] = CLUSTERED
    serial: str = Field(primary_key=True)
    ca: str
    number: str
    certificate: str
    spki: str
    not_before: str
    not_after: str
    seq: int = Field(sa_column=Column(BigInteger, nullable=False))
