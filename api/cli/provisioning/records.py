"""What stands in a station's logbook, and what it says of one request."""

from typing import Literal

import msgspec

Act = Literal["issue", "confirm"]
State = Literal["queued", "sent", "answered", "refused"]


class Opened(msgspec.Struct, frozen=True, tag="opened", tag_field="is"):
    """The first record of a file. after: the digits of the last line of the file before."""

    after: str = ""


class Queued(msgspec.Struct, frozen=True, tag="queued", tag_field="is"):
    """A request that shall be sent, with all that is sent. out: the directory of the answer, absolute.

    issue: csr. confirm: chain_sha256 (hex) and signature. Times are seconds since 1970.
    """

    act: Act
    order: str
    serial: str
    out: str
    at: int
    n: int = 0
    csr: bytes = b""
    chain_sha256: str = ""
    signature: bytes = b""

    @property
    def name(self) -> tuple[str, str, str]:
        """What it is about: of one name, only one content may wait."""
        return (self.act, self.order, self.serial)


class Sent(msgspec.Struct, frozen=True, tag="sent", tag_field="is"):
    """These go to the service now, for the first time."""

    numbers: list[int]
    at: int


class Answered(msgspec.Struct, frozen=True, tag="answered", tag_field="is"):
    """Done; the files of the answer are written."""

    n: int
    at: int


class Refused(msgspec.Struct, frozen=True, tag="refused", tag_field="is"):
    """The service, or this program by the service's rules, refused it."""

    n: int
    at: int
    code: str
    detail: str
    hint: str = ""


Record = Opened | Queued | Sent | Answered | Refused


class Item(msgspec.Struct):
    """A request and what became of it."""

    request: Queued
    state: State = "queued"
    refusal: Refused | None = None

    @property
    def waits(self) -> bool:
        """Whether it is neither answered nor refused."""
        return self.state in ("queued", "sent")
