"""Rows about units after their first certificate: confirmed, scrapped, replaced; and the quota of rework.

Each follows from one entry, and is compared with the journal (`ceremonies.units`). Issuing touches none of them.
"""

from typing import ClassVar

from sqlalchemy import BigInteger, CheckConstraint, Column, LargeBinary
from sqlmodel import Field, SQLModel

from ceremonies.tables import CLUSTERED


class ConfirmationRow(SQLModel, table=True):
    """A unit that has shown its certificate and its key: `seq` is the entry. Once for each certificate."""

    __tablename__ = "confirmation"
    __table_args__: ClassVar[dict[str, bool]] = CLUSTERED
    serial: str = Field(primary_key=True)
    certificate: str = Field(primary_key=True)
    seq: int = Field(sa_column=Column(BigInteger, nullable=False))


class ScrapRow(SQLModel, table=True):
    """A unit that was scrapped: `seq` is the entry."""

    __tablename__ = "scrap"
    __table_args__: ClassVar[dict[str, bool]] = CLUSTERED
    serial: str = Field(primary_key=True)
    seq: int = Field(sa_column=Column(BigInteger, nullable=False))


class ReplacedDeviceRow(SQLModel, table=True):
    """What a device's row was before rework gave its serial another key. `successor`: the certificate that followed;
    `seq`: its outcome entry.
    """

    __tablename__ = "replaced_device"
    __table_args__: ClassVar[dict[str, bool]] = CLUSTERED
    serial: str = Field(primary_key=True)
    certificate: str = Field(primary_key=True)
    spki: str
    ueid: str
    work_order: str
    class_name: str
    public_key: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    successor: str
    seq: int = Field(sa_column=Column(BigInteger, nullable=False))


class ReworkQuotaRow(SQLModel, table=True):
    """How many permits for rework a work order has, and how many were opened. The constraint holds whatever the code
    does. Orders without rework have no row.
    """

    __tablename__ = "rework_quota"
    __table_args__ = (CheckConstraint("opened <= quantity", name="rework_quota_holds"),)
    work_order: str = Field(primary_key=True)
    quantity: int
    opened: int
