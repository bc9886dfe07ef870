"""Rows about site boxes: grants that a box holds; certificates of boxes that the centre has settled."""

from typing import ClassVar

from sqlalchemy import BigInteger, CheckConstraint, Column, String
from sqlmodel import Field, SQLModel

from ceremonies.tables import CLUSTERED


class QuotaGrantRow(SQLModel, table=True):
    """A grant that this box holds, and how much of it is used. The constraint holds it whatever the code does."""

    __tablename__ = "quota_grant"
    __table_args__ = (CheckConstraint("issued <= quantity", name="quota_grant_quota"),)
    id: str = Field(primary_key=True)
    document: str
    quantity: int
    issued: int


class BoxCertificateRow(SQLModel, table=True):
    """A device certificate that the settled journal of a box has: one per certificate, replaced ones included.

    number: 40 hex digits. box: the label of its CA. seq: its outcome entry in the box's journal. settled, confirmed:
    the settlements that accepted it and that told of its confirmation; 0 for none (`ceremonies.settled`).
    """

    __tablename__ = "box_certificate"
    __table_args__: ClassVar[dict[str, bool]] = CLUSTERED
    number: str = Field(primary_key=True)
    box: str
    serial: str
    spki: str
    certificate: str = Field(index=True)
    seq: int = Field(sa_column=Column(BigInteger, nullable=False))
    profile: str = Field(sa_column=Column(String, nullable=False, server_default=""))
    class_name: str = Field(sa_column=Column(String, nullable=False, server_default=""))
    settled: int = Field(sa_column=Column(BigInteger, nullable=False, server_default="0"))
    confirmed: int = Field(sa_column=Column(BigInteger, nullable=False, server_default="0"))
