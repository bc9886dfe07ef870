"""Responders: a key that answers and signs nothing else, and a certificate by a CA that lets it answer.

Those of OCSP have the role `ocsp`, one per CA (RFC 6960 section 4.2.2.2); those of CMP the role `cmp` (RFC 9810 section
4.5). The ceremonies `ocsp-responder` and `cmp-responder` make both. The certificate lives for months, at most; the next
ceremony makes a new key, and ends the one that it replaces.
"""

import datetime
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from ceremonies.certified import load_authority, place_issuer, read_released, reserve_number
from ceremonies.genesis import draw_certificate
from ceremonies.issuers import check_new_key
from ceremonies.keyring import KINDS, KeyEntry
from ceremonies.orders import KeyPlan
from ceremonies.plans import Name, PlanMalformed, Positive, read_plan, write_plan
from ceremonies.procedures import Action, Item, request_prefix
from ceremonies.room import Room
from ceremonies.tables import RequestRow
from ceremonies.trustsets import KeyBook, rehearse_keys
from pki.names import ServiceSubject
from pki.x509.certificates import draft_certificate
from pki.x509.issuers import Issuer
from pki.x509.profiles import CMP_RESPONDER, OCSP_RESPONDER, Profile
from pki.x509.rules import ORGANIZATION, ORGANIZATIONAL_UNIT
from pki.x509.tbs import read_name
from pki.x509.terms import Terms


class Delegate(msgspec.Struct, frozen=True):
    """One kind of responder: its key's role, its certificate's profile, what its name ends with."""

    role: str
    profile: Profile
    title: str

    @property
    def kind(self) -> str:
        """The kind of the certificate's draft."""
        return f"certificate.{self.profile.name}"


OCSP: Final = Delegate("ocsp", OCSP_RESPONDER, "OCSP")
CMP: Final = Delegate("cmp", CMP_RESPONDER, "CMP")
_BY_ROLE: Final = {delegate.role: delegate for delegate in (OCSP, CMP)}


class ResponderPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A new responder key `label` on `token` for the CA with the label `ca`, certified for `days`.

    replaces: the label of the responder key that it replaces, which signs no more.
    """

    label: Name
    ca: Name
    token: Name
    days: Positive
    replaces: Name | None = None


def prepare_responder(delegate: Delegate, room: Room, data: bytes) -> dict[str, Any]:
    """The key, and the states that change with it. Drafted with a throw-away key first. Raises PlanMalformed,
    AuthorityNotIssuing.
    """
    plan: ResponderPlan = read_plan(data, ResponderPlan)
    key = KeyPlan(plan.label, delegate.role, "p256", plan.token, plan.ca)
    if delegate is CMP and room.ledger.replay.grants.centre is not None:
        raise PlanMalformed(
            "plan: a site box answers no CMP: its stations have no certificates", hint="they come with tokens"
        )
    check_new_key(room, key)
    ca = room.door.keyring.labelled(plan.ca)
    if delegate.kind not in KINDS.get(ca.role, ()) or ca.state != "active":
        raise PlanMalformed(f"plan: {plan.ca} is no active CA key that has {delegate.title} responders")
    room.ledger.replay.generations.check_issues(ca, delegate.kind)  # else there would be a key, and never a certificate
    states = {"active": [plan.label]}
    if plan.replaces is not None:
        old = room.door.keyring.labelled(plan.replaces)
        if (old.role, old.scope, old.state) != (delegate.role, plan.ca, "active"):
            raise PlanMalformed(f"plan: {plan.replaces} is no active responder key of {plan.ca}")
        states["deactivated"] = [plan.replaces]
    recipe = {"now": room.surroundings.now_us() // 1_000_000, "number": f"{1 << 158:x}"}
    room.writer.run_now(lambda: draft_items(room, rehearse_keys([key]), (delegate, plan), recipe))
    return {"content": write_plan(plan), "keys": [key.fields], "states": states}


def draft_responder(
    delegate: Delegate, room: Room, shown: Mapping[str, Any], recipe: Mapping[str, Any]
) -> Sequence[Item]:
    """The certificate of the key that exists now."""
    plan = msgspec.convert(shown["content"], ResponderPlan)
    return draft_items(room, KeyBook(room.door.keyring, room.store.blob), (delegate, plan), recipe)


def draft_items(
    room: Room, book: KeyBook, wanted: tuple[Delegate, ResponderPlan], recipe: Mapping[str, Any]
) -> Sequence[Item]:
    """The responder's certificate. Writer's thread. Raises PlanMalformed, and what the draft raises."""
    delegate, plan = wanted
    issuer = load_authority(room, room.door.keyring.labelled(plan.ca).spki)
    if issuer is None:
        raise PlanMalformed(f"plan: {plan.ca} has no certificate")
    start, number = datetime.datetime.fromtimestamp(recipe["now"], datetime.UTC), int(recipe["number"], 16)
    terms = Terms(number, start, start + datetime.timedelta(days=plan.days))
    subject, public_key = name_responder(plan, issuer, delegate.title), book.public_key(plan.label)
    if delegate.profile.no_check:  # nobody asks for its status
        return [Item(plan.label, draft_certificate(delegate.profile, subject, public_key, issuer, terms))]
    draft = draft_certificate(delegate.profile, subject, public_key, place_issuer(room, issuer), terms)
    return [Item(plan.label, draft, reserve=(reserve_number(number),))]


def name_responder(plan: ResponderPlan, issuer: Issuer, title: str) -> ServiceSubject:
    """The responder's name: O of its CA, and OU where that is a site's. Raises NameMalformed."""
    named = {item.oid: item.value.decode() for item in read_name(issuer.subject)}
    return ServiceSubject(named[ORGANIZATION], f"{plan.ca} {title}", named.get(ORGANIZATIONAL_UNIT, ""))


def read_responder(room: Room, key: KeyEntry) -> bytes | None:
    """The certificate (PEM) of a responder's key, as its ceremony released it. Writer's thread.

    Raises JournalForked.
    """
    ceremony = room.ledger.replay.makers.get(key.spki, "")
    request = room.store.find(RequestRow, id=f"{request_prefix(ceremony)}{key.label}")
    if request is None or request["document"] is None or key.role not in _BY_ROLE:
        return None
    return read_released(room, request["document"], _BY_ROLE[key.role].kind)


def make_action(delegate: Delegate) -> Action:
    """The ceremony that makes a responder of a kind."""
    prepare, draft = partial(prepare_responder, delegate), partial(draft_responder, delegate)
    return Action(prepare=prepare, kinds=("key.generate",), draw=draw_certificate, draft=draft)


RESPONDER_ACTION = make_action(OCSP)
CMP_RESPONDER_ACTION = make_action(CMP)
