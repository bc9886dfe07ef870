"""Genesis: from an empty journal to keys, certificates, the first trust set and birth packages.

Every officer signs plan and results; nobody vouches for an absent one. The roster's digest stands in the keyroom's
settings too, so that a forged genesis does not start.
"""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ceremonies import entries
from ceremonies.boxes import bind_centre, check_box, draft_requests
from ceremonies.errors import KeyroomError
from ceremonies.fleet import Fleet
from ceremonies.keyring import check_may_sign, check_plan
from ceremonies.officers import Roster, parse_roster
from ceremonies.orders import Actor
from ceremonies.plans import Authority, Birth, GenesisPlan, PlanMalformed, read_plan, write_plan
from ceremonies.policy import Policy, lint_policy, parse_policy
from ceremonies.procedures import Action, Closing, Item, LastWords, open_ceremony
from ceremonies.quorums import Governing
from ceremonies.room import Room
from ceremonies.store import Change, Insert
from ceremonies.tables import CeremonyRow, CertificateRow, GoverningRow
from ceremonies.trustsets import KeyBook, build_set, rehearse_keys, set_changes
from pki.drafts import Draft
from pki.jcs import jcs
from pki.names import AuthoritySubject
from pki.trust.links import draft_trust_set
from pki.trust.packages import BirthPackage, draft_birth_package
from pki.trust.sets import Domain, RoleId, TrustSet
from pki.x509.certificates import draft_certificate
from pki.x509.issuers import Issuer
from pki.x509.previews import preview_issuer
from pki.x509.profiles import find_profile
from pki.x509.terms import Terms

GENESIS = "genesis"
ROSTER, POLICY = "roster.change", "policy.change"


class GenesisRefused(KeyroomError):
    """Genesis happens once, with the roster that the settings name."""

    code = "genesis-refused"


async def open_genesis(room: Room, facts: tuple[str, bytes, str], by: Actor) -> None:
    """Open the genesis ceremony; facts = (id, plan, change-request id).

    Raises GenesisRefused when there was one, or when the roster is not the one of the settings.
    """
    name, data, chg = facts
    if room.store.list(CeremonyRow, "id"):
        raise GenesisRefused("genesis was opened already", hint="execute it, or start over with an empty database")
    plan: GenesisPlan = read_plan(data, GenesisPlan)
    governing = read_governing(plan, name)
    if governing.roster.digest != room.settings.roster_sha256:
        raise GenesisRefused(
            f"the plan's roster is {governing.roster.digest[:16]}, the settings say {room.settings.roster_sha256[:16]}",
            hint="compare the roster's digest with the officers, then set roster_sha256",
        )
    room.door.governing = governing
    try:
        await open_ceremony(room, GENESIS_ACTION, (name, GENESIS, data, chg), (by, ""))
    except BaseException:
        room.door.governing = None
        raise


def read_governing(plan: GenesisPlan, ceremony: str | None) -> Governing:
    """Roster and policy of a plan, checked against each other. Raises RosterMalformed, PolicyMalformed."""
    roster: Roster = parse_roster(jcs(plan.roster))
    policy: Policy = parse_policy(jcs(plan.policy))
    lint_policy(policy, roster)
    return Governing(roster, policy, ceremony)


def prepare(room: Room, data: bytes) -> dict[str, Any]:
    """What officers see: the whole plan. Every key is made and, with the results, activated.

    Everything is drafted with throw-away keys first: what a plan lacks is found before a token is touched.
    """
    plan: GenesisPlan = read_plan(data, GenesisPlan)
    labels = [key.label for key in plan.keys]
    if len(set(labels)) != len(labels):
        raise PlanMalformed("plan: two keys have one label")
    roles = {key.role for key in plan.keys}
    if plan.centre is not None:
        check_box(plan)
    elif missing := {"identity-root", "oem-root", "manifest-signer", "journal"} - roles:
        raise PlanMalformed(f"plan: no key of role {sorted(missing)[0]}")
    if sum(key.role == "journal" for key in plan.keys) > 1:
        raise PlanMalformed("plan: two keys of role journal", hint="one key signs the journal")
    for key in plan.keys:
        check_plan(key.role, key.algorithm)
        if not room.settings.may_hold(key.token, key.role):
            raise PlanMalformed(
                f"plan: key {key.label} is to live on {key.token}, the settings place {key.role} elsewhere"
            )
    rehearse(room, plan)
    active = [key.label for key in plan.keys if key.role != "recovery"]
    return {"content": write_plan(plan), "keys": [key.fields for key in plan.keys], "states": {"active": active}}


def rehearse(room: Room, plan: GenesisPlan) -> None:
    """Draft the results with throw-away keys, each for a draft that its role may sign. Raises what is wrong."""
    book = rehearse_keys(plan.keys)
    numbers = {authority.label: f"{number + (1 << 158):x}" for number, authority in enumerate(plan.authorities)}
    recipe = {"now": room.surroundings.now_us() // 1_000_000, "numbers": numbers}
    items = draft_items(book, read_governing(plan, None).policy.fleet, plan, recipe)
    names = [item.name for item in items]
    if len(set(names)) != len(names):
        raise PlanMalformed("plan: two documents have one name")
    for item in items:
        for part in item.draft.to_sign:
            check_may_sign(book.keyring.get(part.spki), item.draft.kind)


def draw(room: Room, shown: Mapping[str, Any]) -> dict[str, Any]:
    """The time, and a random number for each certificate."""
    labels = [item["label"] for item in shown["content"].get("authorities", ())]
    numbers = {label: f"{draw_number(room.door.strongbox.random(20)):x}" for label in labels}
    return {"now": room.surroundings.now_us() // 1_000_000, "numbers": numbers}


def draw_number(random: bytes) -> int:
    """A certificate number of 159 random bits from 20 random bytes."""
    return int.from_bytes(random, "big") >> 1


def draw_certificate(room: Room, shown: Mapping[str, Any]) -> dict[str, Any]:
    """What the draft of one certificate needs: the time, and a random number."""
    number = draw_number(room.door.strongbox.random(20))
    return {"now": room.surroundings.now_us() // 1_000_000, "number": f"{number:x}"}


def draft(room: Room, shown: Mapping[str, Any], recipe: Mapping[str, Any]) -> Sequence[Item]:
    """The documents of the plan with the keys that exist now."""
    plan = msgspec.convert(shown["content"], GenesisPlan)
    fleet = room.door.require_governing().policy.fleet
    return draft_items(KeyBook(room.door.keyring, room.store.blob), fleet, plan, recipe)


def draft_items(book: KeyBook, fleet: Fleet, plan: GenesisPlan, recipe: Mapping[str, Any]) -> Sequence[Item]:
    """CA certificates from the root down, the genesis set, birth packages; of a site box its CA's request."""
    if plan.centre is not None:
        return draft_requests(book, plan)
    if plan.trust_set is None:
        raise PlanMalformed("plan: no trust set", hint="only a site box, which names its centre, has none of its own")
    items = draft_authorities(book, plan, recipe)
    genesis = build_set(book, fleet, plan.trust_set, None, recipe["now"])
    roots = [genesis.key_by_kid[kid] for kid in genesis.root.members]
    items.append(Item("set-0-0", draft_trust_set(genesis, None, roots), lambda sealed: set_changes(genesis, sealed)))
    return [*items, *(draft_birth(fleet, genesis, birth) for birth in plan.births)]


def draft_authorities(book: KeyBook, plan: GenesisPlan, recipe: Mapping[str, Any]) -> list[Item]:
    """Each CA by its profile; an issuer stands before those that it issues."""
    issuers: dict[str, Issuer] = {}
    items: list[Item] = []
    for authority in plan.authorities:
        profile = find_profile(authority.profile)
        if book.keyring.labelled(authority.label).role != profile.name:
            raise PlanMalformed(f"plan: key {authority.label} is no {profile.name} key", hint="one key, one purpose")
        above = profile.issuers[0]  # a CA has one kind of issuer
        issuer = None if profile.self_signed else issuers.get(above)
        if issuer is None and not profile.self_signed:
            raise PlanMalformed(f"plan: {authority.label} stands before its issuer, a {above}")
        document = draft_authority(book.public_key(authority.label), plan.organization, authority, issuer, recipe)
        issuers[profile.name] = preview_issuer(profile, document, issuer)
        spki = issuers[profile.name].spki
        items.append(Item(authority.label, document, certificate_changes(authority.label, spki)))
    return items


def certificate_changes(label: str, spki: str) -> Any:
    """The row of a CA certificate."""
    return lambda sealed: [Insert(CertificateRow, {"label": label, "spki": spki, "document": sealed.sha256})]


def draft_authority(
    public_key: bytes, organization: str, authority: Authority, issuer: Issuer | None, recipe: Mapping[str, Any]
) -> Draft:
    """The certificate of a CA of a plan; recipe: the time and, by label, the number."""
    start = datetime.datetime.fromtimestamp(recipe["now"], datetime.UTC)
    number = int(recipe["numbers"][authority.label], 16)
    terms = Terms(number, start, start + datetime.timedelta(days=authority.days))
    subject = AuthoritySubject(organization, authority.name, authority.generation, authority.site)
    return draft_certificate(find_profile(authority.profile), subject, public_key, issuer, terms)


def draft_birth(fleet: Fleet, genesis: TrustSet, birth: Birth) -> Item:
    """The birth package of a class, signed by its manifest-signers."""
    package = build_birth(fleet, genesis, birth)
    group = genesis.group(RoleId.MANIFEST_SIGNER, class_id=package.class_id)
    signers = [genesis.key_by_kid[kid] for kid in group.members[: group.threshold]]
    return Item(f"birth-package-{birth.class_name}", draft_birth_package(genesis, genesis, package, signers))


def build_birth(fleet: Fleet, genesis: TrustSet, birth: Birth) -> BirthPackage:
    """The birth package that a plan describes. Raises ClassUnknown, PlanMalformed."""
    try:
        fuses = tuple((name, bytes.fromhex(value)) for name, value in birth.fuses)
        counters = {Domain(int(domain)): value for domain, value in birth.counters.items()}
    except ValueError as error:
        raise PlanMalformed(
            f"birth package of {birth.class_name}: {error}", hint="fuse words are hex, domains are 0 to 4"
        ) from error
    return BirthPackage(
        fleet=fleet.fleet_id,
        class_id=fleet.class_id(birth.class_name),
        set_ref=genesis.ref,
        fuses=fuses,
        golden=bytes.fromhex(birth.golden) if birth.golden else None,
        counters=counters,
    )


def close(room: Room, shown: Mapping[str, Any], closing: Closing) -> LastWords:
    """Put the roster and the policy of the approved plan in force."""
    plan = msgspec.convert(shown["content"], GenesisPlan)
    words = govern(read_governing(plan, None), closing)
    return words if plan.centre is None else bind_centre(plan.centre, words, closing)


def govern(governing: Governing, closing: Closing) -> LastWords:
    """The entries and rows that put a roster and a policy in force."""
    what = ((ROSTER, governing.roster), (POLICY, governing.policy))
    drafts = [entries.event(kind, closing.by, {"sha256": item.digest}, **closing.context) for kind, item in what]

    def changes(placed: Any) -> Sequence[Change]:
        return [
            Insert(GoverningRow, {"name": kind, "seq": at.seq}) for (kind, _), at in zip(what, placed, strict=False)
        ]

    return LastWords(drafts, changes, [governing.roster.document, governing.policy.document])


def after(room: Room, shown: Mapping[str, Any]) -> None:
    """The policy's quorums count from now on."""
    room.door.governing = read_governing(msgspec.convert(shown["content"], GenesisPlan), None)


GENESIS_ACTION = Action(prepare=prepare, kinds=("key.generate",), draw=draw, draft=draft, close=close, after=after)
