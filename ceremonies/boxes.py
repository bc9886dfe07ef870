"""Site boxes: keyrooms of offline plants. Genesis binds one to its centre; grants of the centre let it issue.

A box makes the key of its device CA and asks for the certificate (PKCS #10); the centre's identity root certifies it.
What a box believes of its centre is pinned at its genesis: the identity root, and a trust set from which it follows the
centre's, set by set. The grant names one of those, so whoever may sign manifests there may sign grants.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ceremonies import entries
from ceremonies.certified import read_released
from ceremonies.claims import GrantMissing, GrantOver
from ceremonies.errors import KeyroomError
from ceremonies.generations import describe_authority
from ceremonies.grant_tables import QuotaGrantRow
from ceremonies.granted import CENTRE, IMPORT, Grant, list_facts
from ceremonies.keyring import KeyEntry
from ceremonies.plans import CentrePlan, GenesisPlan, PlanMalformed, WorkOrder, read_plan, write_plan
from ceremonies.procedures import Action, Closing, Item, LastWords
from ceremonies.room import Room
from ceremonies.roots import Ancestry, GrantRefused, find_centre, trace_authority
from ceremonies.store import Change, Insert
from ceremonies.tables import CertificateRow, TrustSetRow
from ceremonies.trustsets import KeyBook, newest_set
from pki.errors import PkiError
from pki.trust.grants import QuotaGrant, verify_grant
from pki.trust.links import check_well_formed, parse_set, verify_link
from pki.trust.sets import TrustSet
from pki.x509.ca_requests import draft_request
from pki.x509.issuers import Issuer, read_issuer
from pki.x509.profiles import DEVICE_CA, IDENTITY_ROOT

ROLES = frozenset({"device-ca", "journal", "probe", "ocsp"})
"""What a site box may hold keys for."""

Encoded = Annotated[str, Meta(max_length=1 << 17)]
Certificate = Annotated[str, Meta(max_length=1 << 15)]


class GrantImportPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What came from the centre: a grant and the trust sets since the last one known here (base64), and, once, the
    certificate of this box's CA with the root that certified it and the links to that root (PEM).
    """

    grant: Encoded
    trust_sets: Annotated[tuple[Encoded, ...], Meta(max_length=64)] = ()
    certificate: Certificate = ""
    root: Certificate = ""
    links: Annotated[tuple[Certificate, ...], Meta(max_length=16)] = ()


class Brought(msgspec.Struct, frozen=True):
    """An import that holds: the grant, its document; sets that are new here; the CA's ancestry and its key."""

    grant: QuotaGrant
    document: bytes
    sets: tuple[tuple[TrustSet, bytes], ...]
    ancestry: Ancestry
    key: KeyEntry


def check_box(plan: GenesisPlan) -> None:
    """The plan of a site box's genesis: one device CA, and nothing that only a centre has. Raises PlanMalformed."""
    roles = [key.role for key in plan.keys]
    if (roles.count("device-ca"), roles.count("journal")) != (1, 1):
        raise PlanMalformed("plan: a site box has one key of role device-ca and one of role journal")
    if surplus := set(roles) - ROLES:
        raise PlanMalformed(f"plan: a site box has no {sorted(surplus)[0]} key", hint="such keys are the centre's")
    if any(key.label.startswith(IDENTITY_ROOT.name) for key in plan.keys):
        raise PlanMalformed(
            f"plan: {IDENTITY_ROOT.name} is what a site box calls its centre's root", hint="choose another label"
        )
    if plan.authorities or plan.births or plan.trust_set is not None:
        raise PlanMalformed("plan: a site box has authorities, trust sets and birth packages from its centre")
    if plan.centre is not None:
        read_pins(plan.centre)


def read_pins(centre: CentrePlan) -> tuple[Issuer, TrustSet, bytes]:
    """Identity root and trust set of a centre, with the set's message. Raises PlanMalformed, and a PkiError."""
    message = decode(centre.trust_set)
    trust_set, _ = parse_set(message)
    check_well_formed(trust_set)
    return read_issuer(IDENTITY_ROOT, centre.identity_root.encode()), trust_set, message


def decode(text: str) -> bytes:
    """Base64 (RFC 4648 section 4), strictly. Raises PlanMalformed."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise PlanMalformed(f"plan: a document is not base64: {error}") from error


def draft_requests(book: KeyBook, plan: GenesisPlan) -> list[Item]:
    """The certification request of the box's CA."""
    labels = [key.label for key in plan.keys if key.role == DEVICE_CA.name]
    return [Item(label, draft_request(label, book.public_key(label))) for label in labels]


def bind_centre(centre: CentrePlan, words: LastWords, closing: Closing) -> LastWords:
    """The last words of a genesis, and what binds the box to its centre."""
    root, trust_set, message = read_pins(centre)
    digests = {"root": _sha256(root.certificate), "trust_set": _sha256(message)}
    facts = describe_authority(root, IDENTITY_ROOT.name, root.spki)
    bound = entries.event(CENTRE, closing.by, {"plant": centre.plant, "authority": facts, **digests}, **closing.context)
    certificate = {"label": IDENTITY_ROOT.name, "spki": root.spki, "document": digests["root"]}
    rows = [Insert(CertificateRow, certificate), set_row(trust_set, message)]
    return LastWords(
        [*words.drafts, bound],
        lambda placed: [*words.changes(placed), *rows],
        [*words.blobs, root.certificate, message],
    )


def set_row(trust_set: TrustSet, message: bytes) -> Insert:
    """The row of a set that was imported."""
    digest = trust_set.payload_sha256.hex()
    return Insert(TrustSetRow, {"index": trust_set.index, "payload_sha256": digest, "document": _sha256(message)})


def read_brought(room: Room, plan: GrantImportPlan) -> Brought:
    """Judge what came from the centre, as everything stands now.

    1. this keyroom is a site box; 2. each trust set follows the one before; 3. the grant is under the newest, for this
    plant and a CA key of this box, of a higher number than all before; 4. its classes are those of the policy;
    5. the CA's certificate is by the pinned root, or by one that a link joins to it.
    Raises GrantRefused, PlanMalformed.
    """
    centre = find_centre(room)
    document = decode(plan.grant)
    try:
        newest, sets = newest_set(room.store), []
        for message in map(decode, plan.trust_sets):
            newest = verify_link(newest, message)
            sets.append((newest, message))
        grant = verify_grant(newest, document)
        _check_recovered(room, grant)
        key = _find_key(room, grant, centre.plant)
        ancestry = _read_ancestry(room, key, plan)
    except PkiError as error:
        hint = error.hint or "was it made for another box, or changed on its way?"
        raise GrantRefused(f"{error.code}: {error}", hint=hint) from error
    return Brought(grant, document, tuple(sets), ancestry, key)


def _find_key(room: Room, grant: QuotaGrant, plant: str) -> KeyEntry:
    """The CA key that the grant is for. Raises GrantRefused."""
    grants, fleet = room.ledger.replay.grants, room.door.require_governing().policy.fleet
    own = [key for key in room.door.keyring if key.role == DEVICE_CA.name and key.spki == grant.ca.hex()]
    if not own or grant.plant != plant:
        raise GrantRefused(
            f"grant {grant.id} is for CA {grant.ca.hex()[:16]} of plant {grant.plant}", hint="bring it to that box"
        )
    if grant.id in grants.held or any(grant.number <= held.number for held in grants.held.values()):
        raise GrantRefused(f"grant {grant.id} is not newer than what this box holds", hint="nothing is left to do")
    if unknown := set(grant.classes) - {fleet.class_id(item.name) for item in fleet.classes}:
        raise GrantRefused(
            f"grant {grant.id} is for class {min(unknown).hex()}", hint="the policy of this box names no such class"
        )
    if grant.facts and grant.facts.hex() != fleet.digest(grant.classes):
        raise GrantRefused(
            f"the centre's policy says other things of the classes of grant {grant.id} than this box's",
            hint="give the policy of this box the centre's `fleet`, word for word",
        )
    return own[0]


def _check_recovered(room: Room, grant: QuotaGrant) -> None:
    """A grant is newer than the journal's last recovery: an older one may be used up by entries that were lost.

    Raises GrantRefused.
    """
    for seq in room.ledger.replay.recovered[-1:]:
        ts = room.ledger.read_entry(seq)[1].ts
        if grant.issued_at < int(datetime.fromisoformat(ts).timestamp()):
            raise GrantRefused(f"grant {grant.id} was made before the journal's recovery", hint="ask for the next")


def _read_ancestry(room: Room, key: KeyEntry, plan: GrantImportPlan) -> Ancestry:
    """The certificate of the box's CA, with its root: the one that came, or that of before.

    Raises GrantRefused, and an X509Error.
    """
    row = room.store.find(CertificateRow, spki=key.spki)
    brought = plan.certificate.encode()
    if not brought and row is None:
        raise GrantRefused(f"CA {key.label} has no certificate yet", hint="bring it with the grant")
    if not brought and row is not None:
        brought = read_released(room, row["document"], "certificate.device-ca")
    found = trace_authority(room, brought, plan.root.encode(), [item.encode() for item in plan.links])
    issuer = found.authority
    if issuer.spki != key.spki or (row and row["document"] != _sha256(issuer.certificate)):
        raise GrantRefused(f"the certificate is not that of CA {key.label}", hint="bring the one of this box")
    return found


def describe_grant(grant: QuotaGrant, document: bytes) -> Grant:
    """A grant as the journal has it."""
    return Grant(
        id=grant.id, number=grant.number, ca=grant.ca.hex(), quantity=grant.quantity, profiles=grant.profiles,
        classes=tuple(sorted(item.hex() for item in grant.classes)), valid_from=grant.valid_from,
        valid_to=grant.valid_to, document=_sha256(document), facts=grant.facts.hex() if grant.facts else "",
    )  # fmt: skip


def prepare_import(room: Room, data: bytes) -> dict[str, Any]:
    """A grant that this box may take. Officers see what it says, and a root that is believed with it."""
    plan: GrantImportPlan = read_plan(data, GrantImportPlan)
    brought = room.writer.run_now(lambda: read_brought(room, plan))
    followed = brought.ancestry.followed
    root = {"root": followed.facts} if followed else {}
    return {"content": write_plan(plan), "grant": list_facts(describe_grant(brought.grant, brought.document)), **root}


def guard_import(room: Room, shown: Mapping[str, Any]) -> None:
    """It may still be taken."""
    plan = msgspec.convert(shown["content"], GrantImportPlan)
    room.writer.run_now(lambda: read_brought(room, plan))


def close_import(room: Room, shown: Mapping[str, Any], closing: Closing) -> LastWords:
    """From now on the box issues under this grant, and under no other."""
    brought = read_brought(room, msgspec.convert(shown["content"], GrantImportPlan))
    grant, found = describe_grant(brought.grant, brought.document), brought.ancestry
    certificate = _sha256(found.authority.certificate)
    births = {name.hex(): birth.hex() if birth else "" for name, birth in brought.grant.classes.items()}
    facts = describe_authority(found.authority, DEVICE_CA.name, found.root.spki)
    more = {"authority": facts, "births": births, "certificate": certificate, "sets": len(brought.sets)}
    if found.followed:
        more["root"] = found.followed.facts
    taken = entries.event(IMPORT, closing.by, {**list_facts(grant), **more}, **closing.context)
    held = {"id": grant.id, "document": grant.document, "quantity": grant.quantity, "issued": 0}
    rows: list[Change] = [Insert(QuotaGrantRow, held), *(set_row(*item) for item in brought.sets)]
    if certificate not in room.ledger.replay.grants.papers:
        row = {"label": brought.key.label, "spki": brought.key.spki, "document": certificate}
        rows.append(Insert(CertificateRow, row))
    blobs = [brought.document, found.authority.certificate, *(message for _, message in brought.sets)]
    if found.followed:
        rows += found.followed.rows
        blobs += found.followed.blobs
    return LastWords([taken], lambda _: rows, blobs)


def check_granted(room: Room) -> None:
    """A site box has a grant, of whatever CA; before the first one its CA has no certificate. Raises GrantMissing."""
    grants = room.ledger.replay.grants
    if grants.centre is not None and not grants.held:
        raise GrantMissing("this site box has no grant yet", hint="import the first one with the CA's certificate")


def find_grant(room: Room, ca: str) -> str | None:
    """The grant under which a CA (SPKI digest) issues here; None where none is needed, and where none is held."""
    grant = room.ledger.replay.grants.current(ca)
    return grant.id if grant else None


def refuse_grant(room: Room, ca: str, order: WorkOrder, now: int) -> KeyroomError | None:
    """Why a site box begins no certificate for a work order now (seconds since 1970)."""
    grants = room.ledger.replay.grants
    if grants.centre is None:
        return None
    grant = grants.current(ca)
    if grant is None:
        return GrantMissing("this site box has no grant for its CA", hint="import a grant of the centre")
    recovered = room.ledger.replay.recovered
    if recovered and grant.seq < recovered[-1]:
        # The lost entries may have spent certificates of it.
        return GrantOver(f"grant {grant.id} is from before the journal's recovery", hint="ask the centre for the next")
    if not grant.valid_from <= now < grant.valid_to:
        until = datetime.fromtimestamp(grant.valid_to, UTC).date().isoformat()
        return GrantOver(f"grant {grant.id} is not valid now: its end is {until}", hint="ask the centre for the next")
    fleet = room.door.require_governing().policy.fleet
    classes = {bytes.fromhex(item) for item in grant.classes}
    if grant.facts and grant.facts != room.cached(("facts", grant.id), lambda: fleet.digest(classes)):
        return GrantOver(f"the policy was changed since grant {grant.id}", hint="ask the centre for the next")
    class_id = fleet.class_id(order.class_name).hex()
    if class_id not in grant.classes or order.profile not in grant.profiles:
        return GrantOver(
            f"grant {grant.id} is not for {order.profile} of {order.class_name}", hint="ask the centre for another"
        )
    return None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


IMPORT_GRANT_ACTION = Action(prepare=prepare_import, kinds=(IMPORT,), guard=guard_import, close=close_import)
