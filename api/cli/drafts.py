"""Drafts inside an exported step, decoded from their payload bytes and checked against their digests."""

import base64
import binascii
import enum
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from api.cli.errors import StepFileInconsistent
from pki.errors import PkiError
from pki.formats.mcuboot import read_image
from pki.jcs import jcs
from pki.trust.authorizations import InstallAuthorization
from pki.trust.counters import CounterUpdate
from pki.trust.denials import DenyList
from pki.trust.indexes import TransitionIndex
from pki.trust.manifests import FirmwareManifest
from pki.trust.packages import BirthPackage
from pki.trust.payloads import Payload
from pki.trust.sets import TrustSet
from pki.x509.tbs import read_extensions, read_name, read_tbs, read_time

_PAYLOADS: Final[Mapping[str, type[Payload]]] = {
    kind.NAME: kind
    for kind in (
        TrustSet,
        CounterUpdate,
        TransitionIndex,
        FirmwareManifest,
        BirthPackage,
        DenyList,
        InstallAuthorization,
    )
}


class ShownDraft(msgspec.Struct, frozen=True):
    """A draft as a results step shows it. `payload` is base64url without padding."""

    digest: str
    kind: str
    name: str
    payload: str
    statement: dict[str, Any]
    summary: str


def read_drafts(content: Any) -> list[ShownDraft]:
    """The drafts that a step shows; a plan shows none. Raises StepFileInconsistent when one is not what it says."""
    shown = content.get("drafts", []) if isinstance(content, dict) else []
    try:
        drafts = msgspec.convert(shown, list[ShownDraft])
    except msgspec.ValidationError as error:
        raise StepFileInconsistent(f"the drafts are not drafts: {error}") from error
    for draft in drafts:
        _check(draft)
    return drafts


def payload_of(draft: ShownDraft) -> bytes:
    """The payload's bytes. Raises StepFileInconsistent."""
    try:
        return base64.b64decode(draft.payload + "=" * (-len(draft.payload) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise StepFileInconsistent(f"the payload of {draft.name} is not base64url") from error


def describe(draft: ShownDraft) -> Any:
    """What the payload says, decoded from its bytes. Raises StepFileInconsistent when it does not decode."""
    payload = payload_of(draft)
    try:
        if draft.kind.startswith("certificate."):
            return dict(_describe_certificate(payload))
        if draft.kind.startswith("image."):
            image = read_image(payload)
            return {"version": image.version_text, "security_counter": image.security_counter, "size": len(payload)}
        if draft.kind in _PAYLOADS:
            return _plain(_PAYLOADS[draft.kind].from_payload(payload))
    except PkiError as error:
        raise StepFileInconsistent(f"{draft.name} is no {draft.kind}: {error}", hint="do not sign") from error
    return {"payload": payload}


def _plain(value: Any) -> Any:
    """A decoded payload for people and for JSON: identifiers in hex, roles and domains by name."""
    if isinstance(value, msgspec.Struct):
        return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, enum.Enum):
        return value.name.lower().replace("_", "-")
    return value.hex() if isinstance(value, bytes) else value


def _check(draft: ShownDraft) -> None:
    payload, statement = payload_of(draft), draft.statement
    digest = hashlib.sha256(payload).hexdigest()
    if statement.get("kind") != draft.kind or statement.get("payload_sha256") != digest:
        raise StepFileInconsistent(f"the statement of {draft.name} is about another payload", hint="do not sign")
    if hashlib.sha256(jcs(statement)).hexdigest() != draft.digest:
        raise StepFileInconsistent(f"the digest of {draft.name} is not that of its statement", hint="do not sign")
    signed = [item[1] for item in statement.get("sign", [])]
    # Certificates and images are signed as they are; COSE signs a structure around the payload, other for each key.
    if draft.kind.startswith(("certificate.", "image.")) and set(signed) != {digest}:
        raise StepFileInconsistent(f"other bytes than the payload of {draft.name} would be signed", hint="do not sign")


def _describe_certificate(der: bytes) -> Iterator[tuple[str, Any]]:
    tbs = read_tbs(der)
    yield "serial number", f"{tbs.serial_number:x}"
    for what, name in (("issuer", tbs.issuer), ("subject", tbs.subject)):
        yield what, {_oid(item.oid): item.value.decode("utf-8", "replace") for item in read_name(name)}
    yield "from", read_time(tbs.not_before).isoformat()
    yield "until", read_time(tbs.not_after).isoformat()
    yield "public key, SHA-256", hashlib.sha256(tbs.public_key).hexdigest()
    for extension in read_extensions(tbs.extensions):
        yield f"{_oid(extension.oid)}{', critical' * extension.critical}", extension.value


_NAMES: Final = {
    "550403": "commonName",
    "550405": "serialNumber",
    "550406": "country",
    "55040a": "organization",
    "55040b": "organizationalUnit",
    "551d0e": "subjectKeyIdentifier",
    "551d0f": "keyUsage",
    "551d11": "subjectAltName",
    "551d13": "basicConstraints",
    "551d1e": "nameConstraints",
    "551d1f": "cRLDistributionPoints",
    "551d20": "certificatePolicies",
    "551d23": "authorityKeyIdentifier",
    "551d25": "extKeyUsage",
}


def _oid(content: bytes) -> str:
    return _NAMES.get(content.hex(), f"OID {content.hex()}")
