"""What the door is asked, and what it gives: the values between the flows and the one road to the keys."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from ceremonies.errors import KeyroomError
from ceremonies.store import Change
from pki.drafts import Draft


class EnrolmentUnderWay(KeyroomError):
    """Another request of this device is being answered."""

    code = "enrolment-under-way"


class Actor(msgspec.Struct, frozen=True):
    """Who asks: credential thumbprint, role, source address, stable pseudonym. No personal name."""

    cred: str
    role: str
    src: str
    sub: str

    @property
    def fields(self) -> dict[str, str]:
        """The `actor` of a leaf; empty values are left out."""
        return {name: value for name in ("cred", "role", "src", "sub") if (value := getattr(self, name))}


class RequestKey(msgspec.Struct, frozen=True):
    """A request that may come again: idempotency key, digest of what it asked, and how its draft was made (JCS)."""

    id: str
    body: str
    recipe: bytes


class Reservation(msgspec.Struct, frozen=True):
    """A name that the operation spends, and the refusal for whoever finds it spent already."""

    name: str
    refusal: KeyroomError


class StepRef(msgspec.Struct, frozen=True):
    """The approved step of a ceremony under which something is done."""

    ceremony: str
    step: str


class Sealed(msgspec.Struct, frozen=True):
    """A document, its outcome entry, and the C2SP tlog-proof of that entry (empty before the journal has a key)."""

    document: bytes
    sha256: str
    seq: int
    entry: bytes
    proof: bytes
    replayed: bool = False


class Rider(msgspec.Struct, frozen=True):
    """Entries that are written with another one, in its transaction, and the rows that follow from their places."""

    drafts: Sequence[Mapping[str, Any]] = ()
    changes: Callable[[Sequence[Any]], Sequence[Change]] = lambda _: ()


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A draft to be sealed.

    name: what the document is called in lists. request: for idempotent repeats. reserve: names spent by the intent.
    work_order: whose quota it uses, unless it is `rework` under a permit. grant: a site box's, whose quota it uses too.
    closed: why nothing new may be sealed, when that is so; replays still are.
    step: whose approvals it has. blobs: further bytes to keep by digest (a CSR).
    inspect: judges the finished document as its user would, raises to hold it back.
    changes: the rows that follow from the sealed document, written with its outcome. rider: composes entries that go
    with it, in that transaction.
    """

    draft: Draft
    by: Actor
    name: str
    request: RequestKey | None = None
    reserve: tuple[Reservation, ...] = ()
    work_order: str | None = None
    rework: bool = False
    grant: str | None = None
    closed: KeyroomError | None = None
    step: StepRef | None = None
    chg: str = ""
    blobs: tuple[bytes, ...] = ()
    inspect: Callable[[bytes], object] | None = None
    changes: Callable[[Sealed], Sequence[Change]] | None = None
    rider: Callable[[], Rider] | None = None


class KeyPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key that a plan asks for. `scope` narrows the role: a class name, a site, or empty."""

    label: str
    role: str
    algorithm: str
    token: str
    scope: str = ""

    @property
    def fields(self) -> dict[str, Any]:
        """JSON form, as in a plan and in `op.what`."""
        return {name: getattr(self, name) for name in self.__struct_fields__}
