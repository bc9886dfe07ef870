"""Rows about keys that live in hardware."""

from typing import ClassVar

from sqlalchemy import BigInteger, Column
from sqlmodel import Field, SQLModel

from ceremonies.tables import CLUSTERED


class ElementRow(SQLModel, table=True):
    """A key that was shown to live in hardware. See `ceremonies.elements.Element`; `seq` is the entry that says so."""

    __tablename__ = "element"
    __table_args__: ClassVar[dict[str, bool]] = CLUSTERED
    spki: str = Field(primary_key=True)
    kind: str
    ident: str = Field(index=True)
    serial: str = Field(index=True)
    seq: int = Field(sa_column=Column(BigInteger, nullable=False))
