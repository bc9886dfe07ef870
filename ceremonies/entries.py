"""The journal's entries as the keyroom words them: all but the place, the time and the node (docs/leaf.schema.json)."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from ceremonies.journal import EntryDraft, Placed
from ceremonies.keyring import KeyEntry
from ceremonies.orders import Actor, KeyPlan, Order

MECHANISMS = {"p256": "ECDSA_SHA256", "p384": "ECDSA_SHA384", "ed25519": "EDDSA"}
WHY_LIMIT = 1024
STRANGE = frozenset({"binding-mismatch", "element-taken", "key-known", "serial-not-in-order"})
"""Refusals of a request inside a work order that a station in order does not bring about."""


def sign_intent(
    order: Order, keys: Sequence[tuple[KeyEntry, int]], policy: str, counted: Sequence[Mapping[str, Any]]
) -> EntryDraft:
    """What will be signed, by which keys, with the count of each key's uses; written before the strongbox is asked."""
    draft = order.draft
    entry: dict[str, Any] = {
        "type": "key.sign.intent",
        "actor": order.by.fields,
        "keys": [{**key.fields, "kctr": count} for key, count in keys],
        "op": {
            "digest": draft.digest,
            "kind": draft.kind,
            "mech": MECHANISMS[keys[0][0].algorithm],
            "policy": policy,
            "summary": draft.summary,
            "what": dict(draft.what),
        },
    }
    return _with_context(entry, order, counted)


def sign_denied(order: Order, policy: str, error: Exception) -> EntryDraft:
    """A refusal before any key was used."""
    draft = order.draft
    entry: dict[str, Any] = {
        "type": "key.sign.denied",
        "actor": order.by.fields,
        "op": {"digest": draft.digest, "kind": draft.kind, "policy": policy, "what": _judge(draft.what, error)},
        "out": {"status": "denied", "why": reason(error)},
    }
    return _with_context(entry, order, ())


def refused(kind: str, by: Actor, what: Mapping[str, Any], error: Exception) -> EntryDraft:
    """A refusal before there was a draft."""
    out = {"status": "denied", "why": reason(error)}
    return {
        "type": "key.sign.denied",
        "actor": by.fields,
        "op": {"kind": kind, "what": _judge(what, error)},
        "out": out,
    }


def event_refused(kind: str, by: Actor, what: Mapping[str, Any], error: Exception) -> EntryDraft:
    """An entry that is no key operation, of what was refused."""
    return event(kind, by, _judge(what, error), out={"status": "denied", "why": reason(error)})


def is_strange(error: Exception) -> bool:
    """Whether a station that asks so inside a work order is itself in question."""
    return getattr(error, "code", "") in STRANGE


def _judge(what: Mapping[str, Any], error: Exception) -> dict[str, Any]:
    """The facts of a refused request, which say so when it is strange."""
    strange = {"strange": True} if "work_order" in what and is_strange(error) else {}
    return {**what, **strange}


def sign_outcome(order: Order, intent: Placed, keys: Sequence[KeyEntry], out: Mapping[str, Any]) -> EntryDraft:
    """How a signing ended; `out` is made by `out_ok` or `out_failed`."""
    entry: dict[str, Any] = {
        "type": "key.sign.outcome",
        "ref": intent.ref,
        "actor": order.by.fields,
        "keys": [key.fields for key in keys],
        "op": {"digest": order.draft.digest, "kind": order.draft.kind, "what": dict(order.draft.what)},
        "out": dict(out),
    }
    return _with_context(entry, order, ())


def out_ok(document: str, signatures: Sequence[bytes], us: int) -> dict[str, Any]:
    """`out` of a success: document digest and raw signatures in the order of `keys`."""
    return {
        "doc": document,
        "rv": "CKR_OK",
        "sigs": [encode_signature(raw) for raw in signatures],
        "status": "ok",
        "us": us,
    }


def out_failed(error: Exception, us: int) -> dict[str, Any]:
    """`out` of a failure: nothing was released."""
    out = {"status": "fail", "us": us, "why": reason(error)}
    rv = getattr(error, "rv", "")
    return {**out, "rv": rv} if rv else out


def encode_signature(raw: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def reason(error: Exception) -> str:
    """The rule and the sentence of an error, for `out.why`."""
    code = getattr(error, "code", type(error).__name__)
    return f"{code}: {error}"[:WHY_LIMIT]


def unknown(intent: Placed, kind: str, fields: Mapping[str, Any]) -> EntryDraft:
    """Recovery's word on an intent that a crash left open: a signature may exist, none was released."""
    out = {"status": "unknown", "why": "the keyroom ended between intent and outcome; nothing was released"}
    return {"type": f"{kind}.unknown", "ref": intent.ref, "out": out, **fields}


def key_intent(
    operation: str, by: Actor, keys: Sequence[Mapping[str, Any]], op: Mapping[str, Any], cer: Mapping[str, Any]
) -> EntryDraft:
    """`key.generate.intent` or `key.destroy.intent`. `cer` holds cer, chg and apr."""
    return {"type": f"{operation}.intent", "actor": by.fields, "keys": list(keys), "op": dict(op), **cer}


def key_denied(operation: str, by: Actor, op: Mapping[str, Any], error: Exception) -> EntryDraft:
    """A refused generation or destruction."""
    return {
        "type": f"{operation}.denied",
        "actor": by.fields,
        "op": dict(op),
        "out": {"status": "denied", "why": reason(error)},
    }


def key_outcome(
    intent: Placed, by: Actor, key: Mapping[str, Any], op: Mapping[str, Any], out: Mapping[str, Any]
) -> EntryDraft:
    """`key.generate.outcome` (binds the CKA_ID of the intent to the SPKI) or `key.destroy.outcome`."""
    return {
        "type": f"{op['kind']}.outcome",
        "ref": intent.ref,
        "actor": by.fields,
        "keys": [dict(key)],
        "op": dict(op),
        "out": dict(out),
    }


def key_state(key: KeyEntry, state: str, by: Actor, why: str, cer: Mapping[str, Any]) -> EntryDraft:
    """A key's way from one state to another (SP 800-57 part 1, section 7)."""
    return {
        "type": "key.state",
        "actor": by.fields,
        "keys": [key.fields],
        "op": {"kind": "key.state", "what": {"from": key.state, "reason": why or "ceremony", "to": state}},
        **cer,
    }


def state_denied(labels: Sequence[str], state: str, by: Actor, error: Exception) -> EntryDraft:
    """A change of state that was refused. It names labels only: a key may not exist."""
    return {
        "type": "key.state",
        "actor": by.fields,
        "op": {"kind": "key.state", "what": {"labels": list(labels), "to": state}},
        "out": {"status": "denied", "why": reason(error)},
    }


def event(kind: str, by: Actor, what: Mapping[str, Any], **context: object) -> EntryDraft:
    """An entry that is no key operation: a ceremony's step, a receipt batch, an export, a refused token."""
    return {"type": kind, "actor": by.fields, "op": {"kind": kind, "what": dict(what)}, **context}


def plan_facts(plan: KeyPlan) -> dict[str, Any]:
    """`op.what` of a generation."""
    return {name: value for name, value in plan.fields.items() if value}


def _with_context(entry: dict[str, Any], order: Order, counted: Sequence[Mapping[str, Any]]) -> EntryDraft:
    if order.request is not None:
        entry["req"] = order.request.id
    if order.step is not None:
        entry["cer"] = order.step.ceremony
    if order.chg:
        entry["chg"] = order.chg
    if counted:
        entry["apr"] = list(counted)
    return entry
