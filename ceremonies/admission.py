"""Whether a release may be signed: who asks, what the image is, whether the policy lets it out now.

Each refusal names its rule, what was found and what was expected. Nothing is signed or written here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ceremonies.commands import SignRelease
from ceremonies.desk import Caller
from ceremonies.errors import KeyroomError, PolicyRefuses
from ceremonies.hardware import class_profile
from ceremonies.orders import Reservation
from ceremonies.policy import Policy, ReleasePolicy, claims_match
from ceremonies.room import Room
from ceremonies.store import Row, Store
from ceremonies.tables import ReleaseRow, RequestRow, ReservationRow
from ceremonies.trustsets import DAY, newest_set
from pki.formats.mcuboot import McubootImage, PreparedImage, read_image
from pki.formats.mcuboot_tlv import TlvType
from pki.signatures import spki_sha256
from pki.trust.keys import CoseKey

# Unprotected TLV area: its header and the SHA256 entry; then for each key a KEYHASH and a DER signature of 72 at most.
AREA_BYTES, SIGNATURE_BYTES = 4 + 36, 36 + 76


class ReleaseRefused(KeyroomError):
    """A rule of the release policy refuses. `details`: rule, found, expected."""

    code = "release-refused"


class TokenReplayed(KeyroomError):
    """The token signed another request before; each token signs one."""

    code = "token-replayed"


class VersionTaken(KeyroomError):
    """This version was released with other contents."""

    code = "version-taken"


class Ask(msgspec.Struct, frozen=True):
    """A request with the rule that admits it, and the digest of all that it says."""

    command: SignRelease
    caller: Caller
    rule: ReleasePolicy
    body: str

    @property
    def lane(self) -> str:
        """What versions and sequences are counted for: class and component."""
        return f"{self.rule.class_name}:{self.rule.component}"


def refuse(rule: str, found: object, expected: object, hint: str = "") -> ReleaseRefused:
    """A refusal that names its rule, what was found and what was expected."""
    details = {"rule": rule, "found": str(found), "expected": str(expected)}
    return ReleaseRefused(f"{rule}: found {found}, expected {expected}", hint=hint, details=details)


def find_rule(policy: Policy, command: SignRelease, claims: Mapping[str, Any]) -> ReleasePolicy:
    """1. Who: the rule of class and channel; the token's immutable claims are those of one of its alternatives.

    Raises PolicyRefuses, with found and expected, or ReleaseRefused.
    """
    try:
        rule = policy.release_policy(command.class_name, command.channel)
    except PolicyRefuses as error:
        known = sorted(f"{item.class_name}/{item.channel}" for item in policy.releases)
        facts = {"found": f"{command.class_name}/{command.channel}", "expected": f"one of {', '.join(known)}"}
        raise PolicyRefuses(error.message, hint="ask for one that the policy names", details=facts) from error
    if not any(claims_match(wanted, dict(claims)) for wanted in rule.claims):
        names = sorted({name for wanted in rule.claims for name in wanted})
        found = ", ".join(f"{name}={claims.get(name)}" for name in names)
        raise refuse("workload", found[:256], f"the repository and workflow that release {command.class_name}")
    for name in rule.requires:
        if getattr(command, name) is None:
            raise refuse(name, "nothing", f"the SHA-256 of the {name}", hint=f"send the digest of the {name}")
    return rule


def check_facts(command: SignRelease, image: McubootImage, ids: tuple[bytes, bytes]) -> None:
    """2. What: version, security counter, class and vendor are read from the image and compared with the request."""
    if image.version_text != command.version:
        raise refuse("image-version", image.version_text, command.version, "name the version that the image has")
    if image.security_counter is not None and image.security_counter != command.security_version:
        raise refuse("image-security-counter", image.security_counter, command.security_version)
    for name, found, expected in (("class", image.class_id, ids[0]), ("vendor", image.vendor_id, ids[1])):
        if found is not None and found != expected:
            raise refuse(f"image-{name}", found.hex(), expected.hex(), f"the image is for another {name}")


def check_size(prepared: PreparedImage, keys: int, rule: ReleasePolicy) -> None:
    """2. The signed image fits its slot, however long its signatures come out."""
    size = len(prepared.signed) + AREA_BYTES + keys * SIGNATURE_BYTES
    if size > rule.slot_bytes:
        raise refuse("slot-size", f"{size} bytes", f"at most {rule.slot_bytes}", "make the image smaller")


def judge_release(room: Room, ask: Ask) -> None:
    """3. Whether: versions go up per channel; security versions never go down, and up by a step that counters allow.

    The window is open, and the newest set stays fresh for as long as the rule asks (docs/adr/0008).
    """
    command, rule = ask.command, ask.rule
    rows = list_released(room.store, rule)
    for row in rows:
        if row["channel"] == rule.channel and read_version(command.version) <= read_version(row["version"]):
            raise refuse("version-increases", command.version, f"above {row['version']}", "raise the version")
    highest = max((row["security_version"] for row in rows), default=rule.floor)
    if command.security_version < highest:
        raise refuse("security-version-holds", command.security_version, f"at least {highest}", "raise the counter")
    if command.security_version > highest + rule.max_step:
        raise refuse("security-version-step", command.security_version, f"at most {highest + rule.max_step}")
    profile = class_profile(room.door.require_governing().policy, rule.class_name, rule)
    most = profile.counters[profile.domain].highest
    if command.security_version > most:
        raise refuse("counter-capacity", command.security_version, f"at most {most}, which keeps the reserve")
    now = room.surroundings.now_us() // 1_000_000
    if rule.window is not None and not rule.window.start <= now < rule.window.end:
        window = f"{rule.window.start} to {rule.window.end}"
        raise refuse("release-window", f"closed at {now}", window, "ask a security officer")
    if rule.min_validity_days:
        refresh = newest_set(room.store).dates.refresh_after or now
        days = (refresh - now) // DAY
        if days < rule.min_validity_days:
            raise refuse("min-validity", f"{days} days", f"at least {rule.min_validity_days}", "publish the next set")


def reserve_names(room: Room, ask: Ask) -> tuple[Reservation, ...]:
    """What the request spends, whatever becomes of it: version, token, and one signature of the release window.

    A request that comes again finds its own names spent by itself.
    """
    command, identity, window = ask.command, ask.caller.identity, ask.rule.window
    hint = "raise the version"
    taken = VersionTaken(f"version {command.version} of {command.class_name} was released", hint=hint)
    reserve = [Reservation(f"version:{ask.lane}:{command.version}", taken)]
    if identity is not None:
        replay = TokenReplayed("this token signed another request", hint="fetch a new token for each request")
        reserve.append(Reservation(f"jti:{identity.issuer}:{identity.jti}", replay))
    if window is not None and room.store.find(RequestRow, id=request_id(command, "image")) is None:
        used = refuse("release-window", "all signatures used", window.max_signatures, "ask a security officer")
        prefix = f"window:{ask.rule.class_name}:{ask.rule.channel}:{window.start}-{window.end}:"
        number = find_free(room.store, prefix, 1)
        if number > window.max_signatures:
            raise used
        reserve.append(Reservation(f"{prefix}{number}", used))
    return tuple(reserve)


def request_id(command: SignRelease, part: str) -> str:
    """The idempotency key of a release's image or manifest, among which no other flow can find its own."""
    return f"release/{command.id}:{part}"


def check_signed_by(image: bytes, keys: Sequence[CoseKey]) -> None:
    """An image that an interrupted request left was signed by the keys that sign now: no set came in between."""
    found = [tlv.value.hex() for tlv in read_image(image).signatures if tlv.type == TlvType.KEYHASH]
    if found != [spki_sha256(key.to_spki()) for key in keys]:
        raise refuse("trust-set", "an image signed under an older set", "the newest", "release a higher version")


def list_released(store: Store, rule: ReleasePolicy) -> Sequence[Row]:
    """The releases of a rule's class and component, in every channel, by sequence."""
    return store.list(ReleaseRow, "sequence", class_name=rule.class_name, component=rule.component)


def next_sequence(store: Store, ask: Ask) -> int:
    """The next sequence number that no request has spent; one whose request was interrupted stays that request's."""
    rows = list_released(store, ask.rule)
    return find_free(store, f"sequence:{ask.lane}:", rows[-1]["sequence"] + 1 if rows else 1)


def find_free(store: Store, prefix: str, number: int) -> int:
    """The first number from `number` on whose name was not spent."""
    while store.find(ReservationRow, name=f"{prefix}{number}") is not None:
        number += 1
    return number


def read_version(text: str) -> tuple[int, ...]:
    """The numbers of a version that an image stated."""
    return tuple(int(part) for part in text.split("."))
