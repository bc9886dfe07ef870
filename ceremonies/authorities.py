"""New generations of CAs. Two ceremonies: `ca-rotate` makes the key and its certificate, `ca-switch` lets it issue.

Between them the new CA is pending: its certificate and its lists are published, verifiers learn of it, and nothing is
issued by it. From the switch on the old one issues nothing more, and signs the lists and the responders' certificates
of what it issued, until nothing needs them and its key is destroyed. A new root is joined to every older one that is
in force by two link certificates (`pki.x509.links`).
"""

import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ceremonies import entries
from ceremonies.certified import load_authority
from ceremonies.crls import list_scopes
from ceremonies.errors import KeyroomError
from ceremonies.generations import SWITCH, Authority
from ceremonies.genesis import certificate_changes, draw_number
from ceremonies.issuers import AuthorityUnavailable, check_good, check_new_key, find_issuing
from ceremonies.keyring import ALGORITHMS, KeyEntry
from ceremonies.orders import KeyPlan
from ceremonies.plans import Name, PlanMalformed, Positive, read_plan, write_plan
from ceremonies.procedures import Action, Closing, Item, LastWords
from ceremonies.quorums import StepOutdated
from ceremonies.responders import OCSP, read_responder
from ceremonies.room import Room
from ceremonies.trustsets import KeyBook, rehearse_keys
from pki.x509.certificates import draft_certificate
from pki.x509.issuers import Issuer, read_certificate
from pki.x509.links import draft_link, read_subject
from pki.x509.previews import preview_issuer
from pki.x509.profiles import find_profile
from pki.x509.terms import Terms

ROOT = "identity-root"
Reason = Annotated[str, Meta(min_length=1, max_length=256)]


class SwitchRefused(KeyroomError):
    """The next generation of a CA cannot issue yet: something that its certificates need is not there."""

    code = "switch-refused"


class RotatePlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The next generation of the CA `replaces`: a key `label` on `token`, certified for `days`.

    generation: its number, where that is not the next one: certificates of one that a recovery gave up are out there.
    """

    label: Name
    replaces: Name
    token: Name
    days: Positive
    reason: Reason
    generation: Annotated[int, Meta(ge=2, le=9999)] | None = None


class SwitchPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The generation that issues from now on."""

    label: Name
    reason: Reason


def prepare_rotate(room: Room, data: bytes) -> dict[str, Any]:
    """The key, and which CA it follows. Drafted with a throw-away key first. Raises PlanMalformed."""
    plan: RotatePlan = read_plan(data, RotatePlan)
    old = room.door.keyring.labelled(plan.replaces)
    if room.ledger.replay.generations.standing(old.spki) != "issuing":
        raise PlanMalformed(f"plan: {plan.replaces} is no CA that issues", hint="name the generation that issues now")
    (algorithm,) = ALGORITHMS[old.role]
    key = KeyPlan(plan.label, old.role, algorithm, plan.token, old.scope)
    check_new_key(room, key)

    def rehearse() -> dict[str, Any]:
        recipe = compose_recipe(room, plan, lambda: 1 << 158)
        draft_items(room, rehearse_keys([key]), plan, recipe)
        return recipe

    recipe = room.writer.run_now(rehearse)
    return {
        "content": write_plan(plan),
        "generation": recipe["generation"],
        "keys": [key.fields],
        "linked": recipe["linked"],
        "present": {"label": old.label, "spki": old.spki},
        "states": {"active": [plan.label]},
    }


def draw_rotate(room: Room, shown: Mapping[str, Any]) -> dict[str, Any]:
    """The time, the generation, the roots to be linked, and a random number for each certificate."""
    plan = msgspec.convert(shown["content"], RotatePlan)
    return compose_recipe(room, plan, lambda: draw_number(room.door.strongbox.random(20)))


def compose_recipe(room: Room, plan: RotatePlan, draw: Callable[[], int]) -> dict[str, Any]:
    """What the drafts of a new generation need, as of now. Writer's thread.

    Raises AuthorityUnavailable, PlanMalformed.
    """
    generations = room.ledger.replay.generations
    old = generations.known[room.door.keyring.labelled(plan.replaces).spki]
    last = generations.generations(old.name)[-1].generation
    if plan.generation is not None and plan.generation <= last:
        raise PlanMalformed(f"plan: there is a generation {last} already", hint="leave `generation` out")
    linked = list_linkable(room, old.name) if old.profile == ROOT else []
    names = [plan.label, *(name for label in linked for name in name_links(label, plan.label))]
    return {
        "generation": plan.generation or last + 1,
        "issuer": "" if old.profile == ROOT else find_issuing(room, ROOT).spki,
        "linked": linked,
        "now": room.surroundings.now_us() // 1_000_000,
        "numbers": {name: f"{draw():x}" for name in names},
    }


def list_linkable(room: Room, name: str) -> list[str]:
    """The labels of the generations of a root that are in force: their keys are active, nothing of them is revoked.

    One that was suspended or revoked vouches for nobody, and nobody for it.
    """
    found = []
    for authority in room.ledger.replay.generations.generations(name):
        key = room.door.keyring.get(authority.spki)
        try:
            check_good(room, key)
        except AuthorityUnavailable:
            continue
        if not has_ended(room, authority):
            found.append(key.label)
    return found


def has_ended(room: Room, authority: Authority) -> bool:
    """Whether a CA's certificate is over."""
    return datetime.datetime.fromisoformat(authority.not_after) <= room.door.now()


def name_links(old: str, new: str) -> tuple[str, str]:
    """How the certificates that link two roots are called, by the roots' labels: newWithOld, oldWithNew. No key has
    such a label.
    """
    return f"{new}@{old}", f"{old}@{new}"


def draft_rotate(room: Room, shown: Mapping[str, Any], recipe: Mapping[str, Any]) -> Sequence[Item]:
    """The certificates of the key that exists now. Raises StepOutdated when another ceremony came in between."""
    plan = msgspec.convert(shown["content"], RotatePlan)
    generations = room.ledger.replay.generations
    key, old = (room.door.keyring.labelled(label) for label in (plan.label, plan.replaces))
    others = [item for item in generations.generations(generations.known[old.spki].name) if item.spki != key.spki]
    signs = recipe["issuer"]
    if others[-1].generation >= recipe["generation"] or (signs and generations.standing(signs) != "issuing"):
        raise StepOutdated(
            f"another generation of {plan.replaces}, or of its root, came meanwhile", hint="propose a new ceremony"
        )
    return draft_items(room, KeyBook(room.door.keyring, room.store.blob), plan, recipe)


def draft_items(room: Room, book: KeyBook, plan: RotatePlan, recipe: Mapping[str, Any]) -> Sequence[Item]:
    """The new CA's certificate, and those that link a new root. Writer's thread. Raises PlanMalformed."""
    old = read_authority(room, plan.replaces)
    profile, start = find_profile(old.profile), datetime.datetime.fromtimestamp(recipe["now"], datetime.UTC)
    terms = Terms(int(recipe["numbers"][plan.label], 16), start, start + datetime.timedelta(days=plan.days))
    subject = read_subject(read_certificate(old.certificate))
    subject = msgspec.structs.replace(subject, generation=recipe["generation"])
    issuer = load_authority(room, recipe["issuer"]) if recipe["issuer"] else None
    draft = draft_certificate(profile, subject, book.public_key(plan.label), issuer, terms)
    new = preview_issuer(profile, draft, issuer)
    items = [Item(plan.label, draft, certificate_changes(plan.label, new.spki))]
    if profile.self_signed and new.not_after <= old.not_after:
        raise PlanMalformed(f"plan: {plan.label} ends before {plan.replaces}", hint="a new root outlives the old one")
    for label in recipe["linked"]:
        items += draft_links((label, read_authority(room, label)), (plan.label, new), recipe["numbers"])
    return items


def draft_links(old: tuple[str, Issuer], new: tuple[str, Issuer], numbers: Mapping[str, str]) -> list[Item]:
    """NewWithOld and oldWithNew of two roots, each with its label."""
    pairs = ((new[1], old[1]), (old[1], new[1]))
    return [
        Item(name, draft_link(root, issuer, int(numbers[name], 16)), certificate_changes(name, root.spki))
        for name, (root, issuer) in zip(name_links(old[0], new[0]), pairs, strict=True)
    ]


def read_authority(room: Room, label: str) -> Issuer:
    """The CA of a key's label. Writer's thread. Raises PlanMalformed, KeyUnknown."""
    issuer = load_authority(room, room.door.keyring.labelled(label).spki)
    if issuer is None:
        raise PlanMalformed(f"plan: {label} is no CA")
    return issuer


def prepare_switch(room: Room, data: bytes) -> dict[str, Any]:
    """Which generation shall issue, and which one does. Raises PlanMalformed, AuthorityUnavailable, SwitchRefused."""
    plan: SwitchPlan = read_plan(data, SwitchPlan)
    return {"content": write_plan(plan), **room.writer.run_now(lambda: judge_switch(room, plan))}


def judge_switch(room: Room, plan: SwitchPlan) -> dict[str, Any]:
    """The two generations, when the new one has all that its certificates need. Writer's thread. Raises as above."""
    generations = room.ledger.replay.generations
    new = room.door.keyring.labelled(plan.label)
    standing = generations.standing(new.spki)
    if standing != "pending":
        raise PlanMalformed(
            f"plan: {plan.label} is {standing or 'no CA'}", hint="name a generation that was made and issues not yet"
        )
    check_good(room, new)
    authority = generations.known[new.spki]
    if has_ended(room, authority):
        raise AuthorityUnavailable(f"the certificate of {plan.label} has ended", hint="make another generation")
    old = room.door.keyring.get(generations.issuing[authority.name])
    check_lists(room, new)
    if has_responder(room, old) and not has_responder(room, new):
        raise SwitchRefused(
            f"{old.label} has a responder for OCSP, {new.label} has none", hint="hold a ceremony `ocsp-responder`"
        )
    sides = {"issuing": new, "superseded": old}
    return {
        side: {"generation": generations.known[key.spki].generation, "label": key.label, "spki": key.spki}
        for side, key in sides.items()
    }


def check_lists(room: Room, key: KeyEntry) -> None:
    """Where the policy has lists, those of the CA are signed: nobody who demands one refuses its first certificate.

    Raises SwitchRefused.
    """
    signed = room.ledger.replay.revoked.lists.get(key.spki, {})
    now = room.surroundings.now_us() // 1_000_000
    for scope in list_scopes(room):
        if scope.key.spki != key.spki:
            continue
        facts = signed.get(scope.partition)
        if facts is None or facts.next_update <= now:
            raise SwitchRefused(f"the list {scope.path} is not signed yet", hint="wait some seconds; see `kedge crl`")


def has_responder(room: Room, key: KeyEntry) -> bool:
    """Whether a CA's questions of OCSP are answered. Writer's thread."""
    return any(read_responder(room, item) for item in room.door.keyring.active(OCSP.role, key.label))


def guard_switch(room: Room, shown: Mapping[str, Any]) -> None:
    """All of it once more, when the ceremony is executed. Raises StepOutdated, and as `judge_switch`."""
    room.writer.run_now(lambda: check_switch(room, shown))


def check_switch(room: Room, shown: Mapping[str, Any]) -> None:
    """The generations are those that the officers saw. Writer's thread. Raises StepOutdated, and as `judge_switch`."""
    found = judge_switch(room, msgspec.convert(shown["content"], SwitchPlan))
    if found != {side: shown[side] for side in found}:
        raise StepOutdated("another generation issues than the officers saw", hint="propose a new ceremony")


def close_switch(room: Room, shown: Mapping[str, Any], closing: Closing) -> LastWords:
    """From this entry on the new generation issues, and the old one signs lists and responders alone."""
    check_switch(room, shown)
    old, new = (room.door.keyring.get(shown[side]["spki"]) for side in ("superseded", "issuing"))
    what = {
        "from": old.spki, "from_label": old.label, "reason": shown["content"]["reason"],
        "to": new.spki, "to_label": new.label,
    }  # fmt: skip
    switched = {**entries.event(SWITCH, closing.by, what, **closing.context), "keys": [old.fields, new.fields]}
    return LastWords([switched])


CA_ROTATE_ACTION = Action(prepare=prepare_rotate, kinds=("key.generate",), draw=draw_rotate, draft=draft_rotate)
CA_SWITCH_ACTION = Action(prepare=prepare_switch, kinds=(SWITCH,), guard=guard_switch, close=close_switch)
