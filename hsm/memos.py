"""Memos: short notes that a caller keeps in a token, as data objects (CKO_DATA). This room does not know what they say.

A memo is replaced by making the new one first: a crash in between leaves both, never none. It is private, so nobody
reads or writes it who has not logged in, and no call can change it.
"""

from collections.abc import Sequence
from typing import Any, Final

from pkcs11 import Attribute, ObjectClass
from pkcs11 import types as p11

from hsm.errors import MemoInvalid, RequestInvalid
from hsm.keys import MAX_LABEL_BYTES
from hsm.seat import Seat
from hsm.templates import MEMO_FLAGS

APPLICATION: Final = "kedge"
MAX_MEMO_BYTES: Final = 2048
MAX_MEMOS: Final = 8
"""Objects of one label that are read. Each replacement that was cut short may leave one more."""


def read_memos(seat: Seat, token: str, label: str) -> tuple[bytes, ...]:
    """Every memo of a label: one, or after a replacement that was cut short more; none when none was written.

    Raises MemoInvalid when there are too many, or one is empty, too long or cannot be read; and the token's faults.
    """
    about = describe_memo(token, label)
    found = _find(seat, token, label)
    if len(found) > MAX_MEMOS:
        raise MemoInvalid(f"{about}: {len(found)} objects have this label", hint="look at the token's objects")
    with seat.calling("C_GetAttributeValue", about):
        values = [item.get_attributes([Attribute.VALUE]).get(Attribute.VALUE, b"") for item in found]
    for value in values:
        if not isinstance(value, bytes) or not 0 < len(value) <= MAX_MEMO_BYTES:
            raise MemoInvalid(f"{about}: it is empty, longer than {MAX_MEMO_BYTES} bytes, or not told by the token")
    return tuple(values)


def write_memo(seat: Seat, token: str, label: str, data: bytes) -> int:
    """Replace every memo of a label by one; how many there were. It may be done twice.

    Raises RequestInvalid, and the faults of the token: CallRefused from one that keeps no data objects.
    """
    check_memo(label, data)
    about = describe_memo(token, label)
    old = _find(seat, token, label)
    session = seat.session(token)
    with seat.calling("C_CreateObject", about):
        session.create_object(memo_template(label, data))
    # A crash here leaves the old memos beside the new one: both are read, and the next replacement removes them.
    for item in old:
        with seat.calling("C_DestroyObject", about):
            item.destroy()
    return len(old)


def check_memo(label: str, data: bytes) -> None:
    """Raises RequestInvalid unless label and data are within the limits."""
    if not 0 < len(label.encode()) <= MAX_LABEL_BYTES or not label.isprintable():
        raise RequestInvalid(f"memo label {label!r} does not fit", hint=f"use 1 to {MAX_LABEL_BYTES} printable bytes")
    if not 0 < len(data) <= MAX_MEMO_BYTES:
        raise RequestInvalid(f"a memo of {len(data)} bytes", hint=f"use 1 to {MAX_MEMO_BYTES}")


def memo_template(label: str, data: bytes) -> dict[Attribute, Any]:
    """What C_CreateObject gets."""
    identity = {Attribute.CLASS: ObjectClass.DATA, Attribute.APPLICATION: APPLICATION, Attribute.LABEL: label}
    return {**identity, **MEMO_FLAGS, Attribute.VALUE: data}


def describe_memo(token: str, label: str) -> str:
    """How messages name a memo."""
    return f"token {token}, data object {label}"


def _find(seat: Seat, token: str, label: str) -> Sequence[p11.Object]:
    session = seat.session(token)
    with seat.calling("C_FindObjects", describe_memo(token, label)):
        return list(session.get_objects({Attribute.CLASS: ObjectClass.DATA, Attribute.LABEL: label}))
