"""What is in the tokens, and how that differs from what the caller's register says should be there."""

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from hsm.keys import KeyName
from hsm.objects import StoredObject, find_objects, read_object
from hsm.seat import Seat
from hsm.templates import PRIVATE_FLAGS, PROVENANCE, PUBLIC_FLAGS, find_deviations

_EXPECTED_FLAGS: Final = {"private-key": PRIVATE_FLAGS | PROVENANCE, "public-key": PUBLIC_FLAGS}


class TokenInventory(msgspec.Struct, frozen=True):
    """One token and all its objects, sorted by id and kind. `firmware` is `major.minor`."""

    label: str
    serial: str
    manufacturer: str
    model: str
    firmware: str
    objects: tuple[StoredObject, ...]


class Difference(msgspec.Struct, frozen=True):
    """One object that is not as registered: not registered at all, not there, or there in another form."""

    kind: Literal["unknown", "missing", "altered"]
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


def compare_inventory(expected: Iterable[KeyName], found: Sequence[TokenInventory]) -> tuple[Difference, ...]:
    """Every difference between registered keys and tokens; empty when they agree.

    A private key that was exchanged under the same attributes is not seen here: it fails at its first signature.
    """
    stored: dict[tuple[str, bytes], list[StoredObject]] = {}
    for token in found:
        for item in token.objects:
            stored.setdefault((token.label, item.id), []).append(item)
    differences: list[Difference] = []
    for key in expected:
        objects = stored.pop((key.token, key.id), [])
        differences += _compare_key(key, objects)
    differences += (
        Difference("unknown", token, key_id, item.label, f"{item.kind} is not registered")
        for (token, key_id), objects in stored.items()
        for item in objects
    )
    return tuple(differences)


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
