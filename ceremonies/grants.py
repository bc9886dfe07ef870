"""The centre of site boxes: it certifies a box's CA, and grants it a number of certificates until a date.

Two ceremonies. `plant-ca`: the identity root certifies the CA of a box by its request, and the key of the box's journal
is pinned with it, by which its journal is read later. `grant`: the manifest-signers sign the grant.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from ceremonies import entries
from ceremonies.boxes import describe_grant
from ceremonies.certified import Issued, load_authority, read_issued, read_released
from ceremonies.errors import KeyroomError
from ceremonies.genesis import certificate_changes, draft_authority, draw_number
from ceremonies.granted import BOX, MAKE, Box, list_facts
from ceremonies.issuance import load_order
from ceremonies.issuers import AuthorityUnavailable, load_issuer
from ceremonies.journal import RESTORE, JournalForked
from ceremonies.plans import Authority, Count, Name, PlanMalformed, Positive, read_plan, write_plan
from ceremonies.procedures import Action, Closing, Item, LastWords, request_prefix
from ceremonies.quorums import StepOutdated
from ceremonies.revocations import find_revoked
from ceremonies.revoked import write_number
from ceremonies.room import Room
from ceremonies.tables import CertificateRow, DocumentRow, RequestRow
from ceremonies.trustsets import newest_set, signing_keys
from pki.drafts import Draft
from pki.log.policy import parse_policy
from pki.signatures import spki_sha256
from pki.trust.authority import open_sign
from pki.trust.grants import LATEST, QuotaGrant, draft_grant
from pki.trust.keys import CoseKey
from pki.trust.sets import RoleId
from pki.x509.ca_requests import read_request
from pki.x509.issuers import Issuer, read_issuer
from pki.x509.profiles import DEVICE_CA, IDENTITY_ROOT, IDEVID, IEEE2030_5_DEVICE

KIND: Final = QuotaGrant.NAME
PROFILES: Final = (IDEVID.name, IEEE2030_5_DEVICE.name)


class BoxUnknown(KeyroomError):
    """No site box has a CA with this label."""

    code = "box-unknown"


class PlantCaPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A site box: the label of its CA, its plant, its request (PEM); organization, name, generation and days of the
    certificate. journal: a tlog-policy with the key of the box's journal, and the witnesses that cosign it.
    """

    label: Name
    plant: Name
    request: Annotated[str, Meta(max_length=1 << 14)]
    organization: Annotated[str, Meta(min_length=1, max_length=64)]
    name: Annotated[str, Meta(min_length=1, max_length=64)]
    generation: Positive = 1
    days: Positive
    journal: Annotated[str, Meta(min_length=1, max_length=1 << 16)]


class GrantPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Leave for the box whose CA has this label: `quantity` certificates of these classes and profiles, begun from
    `valid_from` on and before `valid_to` (seconds since 1970).
    """

    id: Name
    box: Name
    quantity: Positive
    profiles: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=2)] = PROFILES[:1]
    classes: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=256)]
    valid_from: Count
    valid_to: Count


def prepare_plant(room: Room, data: bytes) -> dict[str, Any]:
    """A box whose CA is new here. Officers see the key's name; they compare it with the people at the box."""
    plan: PlantCaPlan = read_plan(data, PlantCaPlan)
    public_key = read_request(plan.request.encode()).public_key
    parse_policy(plan.journal.encode())
    shown = {"content": write_plan(plan), "key": spki_sha256(public_key)}
    guard_plant(room, shown)
    recipe = {"now": room.surroundings.now_us() // 1_000_000, "numbers": {plan.label: f"{1 << 158:x}"}}
    room.writer.run_now(lambda: draft_plant(room, shown, recipe))
    return shown


def guard_plant(room: Room, shown: Mapping[str, Any]) -> None:
    """No CA of this label or key, at the opening and at the execution. Raises PlanMalformed."""
    label, spki = shown["content"]["label"], shown["key"]
    known = [(key.label, key.spki) for key in room.door.keyring]
    known += [(row["label"], row["spki"]) for row in room.store.list(CertificateRow, "label")]
    if any(label == other[0] or spki == other[1] for other in known):
        raise PlanMalformed(f"plan: a CA {label}, or one with its key, is known here", hint="choose another label")


def draw_plant(room: Room, shown: Mapping[str, Any]) -> dict[str, Any]:
    """The time, and a random certificate number."""
    number = draw_number(room.door.strongbox.random(20))
    return {"now": room.surroundings.now_us() // 1_000_000, "numbers": {shown["content"]["label"]: f"{number:x}"}}


def draft_plant(room: Room, shown: Mapping[str, Any], recipe: Mapping[str, Any]) -> Sequence[Item]:
    """The certificate of the box's CA. Raises PlanMalformed without an active identity root."""
    plan = msgspec.convert(shown["content"], PlantCaPlan)
    try:
        issuer, _ = load_issuer(room, IDENTITY_ROOT.name)
    except AuthorityUnavailable as error:
        raise PlanMalformed(f"plan: {error}", hint="only a centre certifies site boxes") from error
    request = read_request(plan.request.encode())
    about = {"label": plan.label, "name": plan.name, "generation": plan.generation, "days": plan.days}
    authority = msgspec.convert({**about, "profile": DEVICE_CA.name}, Authority)
    draft = draft_authority(request.public_key, plan.organization, authority, issuer, recipe)
    guard_name(room, plan.label, draft)
    return [Item(plan.label, draft, certificate_changes(plan.label, request.spki))]


def guard_name(room: Room, label: str, draft: Draft) -> None:
    """No key or CA here has the label, and no other CA the key or the name of this one; nor is it a generation of a CA
    of this keyroom. What this very draft led to before a crash is no other. Raises PlanMalformed.
    """
    what = draft.what
    name, _, generation = what["subject"].rpartition(" G")
    others = [
        item
        for item in room.ledger.replay.generations.known.values()
        if item.number != write_number(int(what["certificate_number"], 16))
    ]
    row = room.store.find(CertificateRow, label=label)
    if any(key.label == label for key in room.door.keyring) or (row and row["spki"] != what["subject_spki"]):
        raise PlanMalformed(f"plan: a CA {label} is known here", hint="choose another label")
    if any(item.spki == what["subject_spki"] for item in others):
        raise PlanMalformed("plan: the key of this CA was certified before", hint="a box has a key of its own")
    named = [item for item in others if item.name == f"{DEVICE_CA.name} {name}"]
    if any(item.spki in room.door.keyring or item.generation == int(generation) for item in named):
        raise PlanMalformed(
            f"plan: there is a CA {what['subject']}, or one of this keyroom is called so", hint="choose another name"
        )


def close_plant(room: Room, shown: Mapping[str, Any], closing: Closing) -> LastWords:
    """From now on grants may be made for this box."""
    plan = msgspec.convert(shown["content"], PlantCaPlan)
    policy = plan.journal.encode()
    what = {"box": plan.label, "ca": shown["key"], "plant": plan.plant, "policy": hashlib.sha256(policy).hexdigest()}
    return LastWords([entries.event(BOX, closing.by, what, **closing.context)], blobs=[policy])


def find_box(room: Room, label: str) -> Box:
    """The box of this label. Raises BoxUnknown."""
    box = room.ledger.replay.grants.boxes.get(label)
    if box is None:
        raise BoxUnknown(f"no site box {label}", hint="list them with `kedge grant show`; hold the ceremony plant-ca")
    return box


def find_certificate(room: Room, box: Box) -> Issued:
    """The certificate of a box's CA. Writer's thread. Raises JournalForked."""
    row = room.store.find(CertificateRow, label=box.label)
    released = room.store.find(DocumentRow, sha256=row["document"]) if row else None
    if row is None or released is None or row["spki"] != box.ca:
        raise JournalForked(f"the certificate of CA {box.label} is missing", hint=RESTORE)
    return read_issued(room, released["seq"])


def load_plant_ca(room: Room, box: Box) -> Issuer:
    """The CA of a box. Writer's thread. Raises JournalForked, and as `read_issuer`."""
    issued = find_certificate(room, box)
    root = load_authority(room, issued.ca)
    return read_issuer(DEVICE_CA, read_released(room, issued.document, issued.kind), root)


def read_plant(room: Room, order: str) -> str:
    """The plant of a work order; of one of a box (`BOX/ORDER`) the box's. Raises WorkOrderUnknown, BoxUnknown."""
    box, slash, _ = order.partition("/")
    return find_box(room, box).plant if slash else load_order(room, order).plant


def prepare_grant(room: Room, data: bytes) -> dict[str, Any]:
    """A grant that can be drafted now."""
    plan: GrantPlan = read_plan(data, GrantPlan)
    if not plan.valid_from < plan.valid_to < LATEST or set(plan.profiles) - set(PROFILES):
        raise PlanMalformed(f"grant {plan.id}: it is valid at no time, or for another profile than {PROFILES}")
    shown = {"content": write_plan(plan)}
    guard_grant(room, shown)
    room.writer.run_now(lambda: draft_grants(room, shown, draw_grant(room, shown)))
    return shown


def guard_grant(room: Room, shown: Mapping[str, Any]) -> None:
    """The box is known, and no grant of this id was made. Raises BoxUnknown, PlanMalformed."""
    find_box(room, shown["content"]["box"])
    if shown["content"]["id"] in room.ledger.replay.grants.made:
        raise PlanMalformed(f"grant {shown['content']['id']} exists", hint="choose another id")


def draw_grant(room: Room, shown: Mapping[str, Any]) -> dict[str, Any]:
    """The time, and the next number of the CA."""
    box = find_box(room, shown["content"]["box"])
    made = [grant.number for grant in room.ledger.replay.grants.made.values() if grant.ca == box.ca]
    return {"issued_at": room.surroundings.now_us() // 1_000_000, "number": max(made, default=0) + 1}


def draft_grants(room: Room, shown: Mapping[str, Any], recipe: Mapping[str, Any]) -> Sequence[Item]:
    """The one document. Writer's thread. Raises StepOutdated when another grant took its number, PlanMalformed when the
    certificate of the CA was revoked.
    """
    plan = msgspec.convert(shown["content"], GrantPlan)
    box, newest, births = find_box(room, plan.box), newest_set(room.store), room.ledger.replay.births
    taken = [grant for grant in room.ledger.replay.grants.made.values() if grant.ca == box.ca]
    if any(grant.number >= recipe["number"] and grant.id != plan.id for grant in taken):
        raise StepOutdated(f"grant {recipe['number']} of {plan.box} was made meanwhile", hint="propose a new ceremony")
    if find_revoked(room, find_certificate(room, box)):
        raise PlanMalformed(f"the certificate of CA {plan.box} was revoked", hint="certify a new key of the box")
    fleet = room.door.require_governing().policy.fleet
    found = {fleet.class_id(name): births.get(fleet.class_id(name).hex()) for name in plan.classes}
    grant = QuotaGrant(
        fleet=newest.fleet, id=plan.id, number=recipe["number"], set_ref=newest.ref, ca=bytes.fromhex(box.ca),
        plant=box.plant, quantity=plan.quantity, profiles=plan.profiles,
        classes={name: bytes.fromhex(birth) if birth else None for name, birth in found.items()},
        valid_from=plan.valid_from, valid_to=plan.valid_to, issued_at=recipe["issued_at"],
        facts=bytes.fromhex(fleet.digest(found)),
    )  # fmt: skip
    signers: dict[bytes, CoseKey] = {}
    for class_id in grant.classes:
        group = newest.group(RoleId.MANIFEST_SIGNER, class_id=class_id)
        signers |= {key.thumbprint: key for key in signing_keys(room.store, room.door.keyring, group)}
    return [Item(plan.id, draft_grant(newest, grant, list(signers.values())))]


def close_grant(room: Room, shown: Mapping[str, Any], closing: Closing) -> LastWords:
    """The grant as it was signed, with what the policy says of the fleet. Raises StepOutdated when that was changed."""
    row = room.store.find(RequestRow, id=f"{request_prefix(closing.ceremony)}{shown['content']['id']}")
    document = read_released(room, row["document"] if row else "", KIND)
    grant = open_sign(QuotaGrant, document)[0]
    facts = room.door.require_governing().policy.fleet.narrow(grant.classes).document
    if hashlib.sha256(facts).digest() != grant.facts:
        raise StepOutdated(f"the policy was changed since grant {grant.id} was signed", hint="propose a new ceremony")
    what = {**list_facts(describe_grant(grant, document)), "box": shown["content"]["box"]}
    return LastWords([entries.event(MAKE, closing.by, what, **closing.context)], blobs=[facts])


PLANT_CA_ACTION = Action(
    prepare=prepare_plant, kinds=("certificate.device-ca",), draw=draw_plant, draft=draft_plant, guard=guard_plant,
    close=close_plant,
)  # fmt: skip
GRANT_ACTION = Action(
    prepare=prepare_grant, kinds=(KIND,), draw=draw_grant, draft=draft_grants, guard=guard_grant, close=close_grant
)
