"""Rows about devices after the factory: where each is, requests that said so, baselines. Issuing touches none."""

from typing import ClassVar

from sqlalchemy import BigInteger, Column
from sqlmodel import Field, SQLModel

from ceremonies.tables import CLUSTERED


class RegisterRow(SQLModel, table=True):
    """Where a device is by its last statement: one row per serial; a device that was only issued has none.

    `link` is the serial that it replaces or is replaced by; `since_us` the time of the statement, `seq` its entry.
    """

    __tablename__ = "register"
    __table_args__: ClassVar[dict[str, bool]] = CLUSTERED
    serial: str = Field(primary_key=True)
    state: str
    operator: str
    site: str = Field(index=True)
    rack: str
    asset: str
    link: str
    since_us: int = Field(sa_column=Column(BigInteger, nullable=False))
    seq: int = Field(sa_column=Column(BigInteger, nullable=False))


class RegisterRequestRow(SQLModel, table=True):
    """A request of statements by caller and idempotency key: `seq` is the entry that names its answer."""

    __tablename__ = "register_request"
    __table_args__: ClassVar[dict[str, bool]] = CLUSTERED
    id: str = Field(primary_key=True)
    seq: int = Field(sa_column=Column(BigInteger, nullable=False))


class BaselineRow(SQLModel, table=True):
    """A published baseline by its sequence."""

    __tablename__ = "baseline"
    sequence: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    document: str
