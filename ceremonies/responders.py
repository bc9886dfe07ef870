"""Responders of OCSP: per CA a key of role `ocsp`, and a certificate by the CA that lets it answer (RFC 6960, 4.2.2.2).

The ceremony `ocsp-responder` makes both. Its certificate lives for months, at most; the next ceremony makes a new key,
and ends the one that it replaces.
"""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ceremonies.certified import load_authority, read_released
from ceremonies.genesis import draw_number
from ceremonies.keyring import KINDS, KeyEntry, check_plan
from ceremonies.orders import KeyPlan
from ceremonies.plans import Name, PlanMalformed, Positive, read_plan, write_plan
from ceremonies.procedures import Action, Item, request_prefix
from ceremonies.room import Room
from ceremonies.tables import RequestRow
from ceremonies.trustsets import KeyBook, rehearse_keys
from pki.names import ServiceSubject
from pki.x509.certificates import draft_certificate
from pki.x509.issuers import Issuer
from pki.x509.profiles import OCSP_RESPONDER
from pki.x509.rules import ORGANIZATION, ORGANIZATIONAL_UNIT
from pki.x509.tbs import read_name
from pki.x509.terms import Terms

ROLE = "ocsp"
KIND = f"certificate.{OCSP_RESPONDER.name}"


class ResponderPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A new responder key `label` on `token` for the CA with the label `ca`, certified for `days`.

    replaces: the label of the responder key that it replaces, which signs no more.
    """

    label: Name
    ca: Name
    token: Name
    days: Positive
    replaces: Name | None = None


def prepare_responder(room: Room, data: bytes) -> dict[str, Any]:
    """The key, and the states that change with it. Drafted with a throw-away key first. Raises PlanMalformed."""
    plan: ResponderPlan = read_plan(data, ResponderPlan)
    key = KeyPlan(plan.label, ROLE, "p256", plan.token, plan.ca)
    check_plan(key.role, key.algorithm)
    if any(other.label == plan.label for other in room.door.keyring):
        raise PlanMalformed(f"plan: a key {plan.label} exists already", hint="give the new key a label of its own")
    if not room.settings.may_hold(plan.token, ROLE):
        raise PlanMalformed(f"plan: key {plan.label} is to live on {plan.token}, the settings place {ROLE} elsewhere")
    ca = room.door.keyring.labelled(plan.ca)
    if KIND not in KINDS.get(ca.role, ()) or ca.state != "active":
        raise PlanMalformed(f"plan: {plan.ca} is no active CA key that has responders")
    states = {"active": [plan.label]}
    if plan.replaces is not None:
        old = room.door.keyring.labelled(plan.replaces)
        if (old.role, old.scope, old.state) != (ROLE, plan.ca, "active"):
            raise PlanMalformed(f"plan: {plan.replaces} is no active responder key of {plan.ca}")
        states["deactivated"] = [plan.replaces]
    recipe = {"now": room.surroundings.now_us() // 1_000_000, "number": f"{1 << 158:x}"}
    room.writer.run_now(lambda: draft_items(room, rehearse_keys([key]), plan, recipe))
    return {"content": write_plan(plan), "keys": [key.fields], "states": states}


def draw_responder(room: Room, shown: Mapping[str, Any]) -> dict[str, Any]:
    """The time, and a random certificate number."""
    number = draw_number(room.door.strongbox.random(20))
    return {"now": room.surroundings.now_us() // 1_000_000, "number": f"{number:x}"}


def draft_responder(room: Room, shown: Mapping[str, Any], recipe: Mapping[str, Any]) -> Sequence[Item]:
    """The certificate of the key that exists now."""
    plan = msgspec.convert(shown["content"], ResponderPlan)
    return draft_items(room, KeyBook(room.door.keyring, room.store.blob), plan, recipe)


def draft_items(room: Room, book: KeyBook, plan: ResponderPlan, recipe: Mapping[str, Any]) -> Sequence[Item]:
    """The responder's certificate. Writer's thread. Raises PlanMalformed, and what the draft raises."""
    issuer = load_authority(room, room.door.keyring.labelled(plan.ca).spki)
    if issuer is None:
        raise PlanMalformed(f"plan: {plan.ca} has no certificate")
    start = datetime.datetime.fromtimestamp(recipe["now"], datetime.UTC)
    terms = Terms(int(recipe["number"], 16), start, start + datetime.timedelta(days=plan.days))
    draft = draft_certificate(OCSP_RESPONDER, name_responder(plan, issuer), book.public_key(plan.label), issuer, terms)
    return [Item(plan.label, draft)]


def name_responder(plan: ResponderPlan, issuer: Issuer) -> ServiceSubject:
    """The responder's name: O of its CA, and OU where that is a site's. Raises NameMalformed."""
    named = {item.oid: item.value.decode() for item in read_name(issuer.subject)}
    return ServiceSubject(named[ORGANIZATION], f"{plan.ca} OCSP", named.get(ORGANIZATIONAL_UNIT, ""))


def read_responder(room: Room, key: KeyEntry) -> bytes | None:
    """The certificate (PEM) of a responder's key, as its ceremony released it. Writer's thread.

    Raises JournalForked.
    """
    ceremony = room.ledger.replay.makers.get(key.spki, "")
    request = room.store.find(RequestRow, id=f"{request_prefix(ceremony)}{key.label}")
    if request is None or request["document"] is None:
        return None
    return read_released(room, request["document"], KIND)


RESPONDER_ACTION = Action(
    prepare=prepare_responder, kinds=("key.generate",), draw=draw_responder, draft=draft_responder
)
