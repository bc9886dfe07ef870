"""What is in the tokens, and how that differs from what the caller's register says should be there."""

from collections.abc import Collection, Iterable, Sequence
from typing import Final, Literal

import msgspec

from hsm.keys import KeyName
from hsm.objects import StoredObject, find_objects, read_object
from hsm.seat import Seat
from hsm.templates import MEMO_FLAGS, PRIVATE_FLAGS, PROVENANCE, PUBLIC_FLAGS, find_deviations

_EXPECTED_FLAGS: Final = {"private-key": PRIVATE_FLAGS | PROVENANCE, "public-key": PUBLIC_FLAGS}


class TokenInventory(msgspec.Struct, frozen=True):
    """One token and all its objects, sorted by id and kind. `firmware` is `major.minor`.

    `clone`: it is not the token's first place. Keys that were made since the clone was are not there.
    """

    label: str
    serial: str
    manufacturer: str
    model: str
    firmware: str
    objects: tuple[StoredObject, ...]
    clone: bool = False


class Difference(msgspec.Struct, frozen=True):
    """One object that is not as registered: not registered at all, not there, there in another form, or not in a
    clone of its token.
    """

    kind: Literal["unknown", "missing", "altered", "not-cloned"]
    token: str
    id: bytes
    label: str
    reason: str


def read_inventory(seat: Seat, label: str) -> TokenInventory:
    """Read every object of a token. Raises what Seat.session raises, and CallFailed."""
    session = seat.session(label)
    with seat.calling("C_GetAttributeValue", f"token {label}"):
        objects = [read_object(found) for found in find_objects(session)]
    token = session.token
    major, minor = token.firmware_version
    return TokenInventory(
        label=label,
        serial=token.serial.decode("ascii", "replace"),
        manufacturer=token.manufacturer_id,
        model=token.model,
        firmware=f"{major}.{minor}",
        objects=tuple(sorted(objects, key=lambda item: (item.id, item.kind))),
    )


def compare_inventory(
    expected: Iterable[KeyName], found: Sequence[TokenInventory], memos: Collection[tuple[str, str]] = ()
) -> tuple[Difference, ...]:
    """Every difference between registered keys and tokens; empty when they agree.

    memos: token and label of what the caller keeps there (`hsm.memos`); whether one is there, its reader finds out.
    A private key that was exchanged under the same attributes is not seen here: it fails at its first signature.
    """
    registered: dict[str, list[KeyName]] = {}
    for key in expected:
        registered.setdefault(key.token, []).append(key)
    differences: list[Difference] = []
    for token in found:
        kept = [item for item in token.objects if item.kind == "data" and (token.label, item.label) in memos]
        differences += (item for memo in kept for item in _compare_memo(token.label, memo))
        rest = [item for item in token.objects if item not in kept]
        differences += _compare_token(registered.get(token.label, []), token, rest)
    for label in registered.keys() - {token.label for token in found}:
        differences += (_lack(key, "missing", "there is no such token") for key in registered[label])
    return tuple(differences)


def _compare_memo(token: str, memo: StoredObject) -> list[Difference]:
    deviations = find_deviations(memo.attributes, MEMO_FLAGS)
    return [Difference("altered", token, memo.id, memo.label, f"data has {deviation}") for deviation in deviations]


def _compare_token(
    expected: Sequence[KeyName], token: TokenInventory, objects: Iterable[StoredObject]
) -> list[Difference]:
    stored: dict[bytes, list[StoredObject]] = {}
    for item in objects:
        stored.setdefault(item.id, []).append(item)
    differences: list[Difference] = []
    for key in expected:
        mine = stored.pop(key.id, [])
        if token.clone and not mine:
            differences.append(_lack(key, "not-cloned", f"not in the clone with serial {token.serial}"))
        else:
            differences += _compare_key(key, mine)
    differences += (
        Difference("unknown", token.label, key_id, item.label, _describe_foreign(item))
        for key_id, objects in stored.items()
        for item in objects
    )
    return differences


def _lack(key: KeyName, kind: Literal["missing", "not-cloned"], reason: str) -> Difference:
    return Difference(kind, key.token, key.id, key.label, reason)


def _describe_foreign(item: StoredObject) -> str:
    imported = item.kind == "private-key" and find_deviations(item.attributes, PROVENANCE)
    return f"{item.kind} is not registered{', and was not made in the token' if imported else ''}"


def _compare_key(key: KeyName, objects: Sequence[StoredObject]) -> list[Difference]:
    """A registered key: one private and one public object as generated, with the registered public key and label."""
    kinds = sorted(item.kind for item in objects)
    missing = [kind for kind in ("private-key", "public-key") if kind not in kinds]
    if missing:
        return [Difference("missing", key.token, key.id, key.label, f"{' and '.join(missing)} not in the token")]
    reasons = [f"{len(kinds)} objects have this id: {', '.join(kinds)}"] if len(kinds) > 2 else []
    for item in objects:
        deviations = find_deviations(item.attributes, _EXPECTED_FLAGS.get(item.kind, {}))
        reasons += (f"{item.kind} has {deviation}" for deviation in deviations)
        if item.label != key.label:
            reasons.append(f"{item.kind} has label {item.label!r}")
        if item.kind == "public-key" and item.spki != key.spki:
            reasons.append(f"public key is {item.spki[:16]}, registered is {key.spki[:16]}")
    return [Difference("altered", key.token, key.id, key.label, reason) for reason in reasons]
