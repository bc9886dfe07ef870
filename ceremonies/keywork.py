"""Keys come, change state and go: the rest of the door. Runs on the writer's thread, like `ceremonies.door`."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TypedDict, Unpack

import msgspec
from cryptography.hazmat.primitives import serialization

from ceremonies import entries
from ceremonies.door import REFUSALS, Door, MadeKey, key_name
from ceremonies.errors import KeyroomError
from ceremonies.journal import Placed
from ceremonies.keyring import KeyEntry, KeyUnknown, check_plan, check_transition
from ceremonies.ledger import Ledger
from ceremonies.logkey import LogKey, Signer, verifier_key
from ceremonies.orders import Actor, KeyPlan, StepRef
from ceremonies.quorums import Mandate, NotListed
from ceremonies.store import Insert, Row, Update
from ceremonies.tables import DocumentRow, KeyRow
from pki.log.notes import VerifierKey
from pki.signatures import load_spki
from pki.trust.keys import CoseKey

GENERATE = "key.generate"
DESTROY = "key.destroy"
# Public halves that nobody may see before they are used: trust sets commit to their thumbprints only.
UNPUBLISHED = frozenset({"recovery"})


class JournalKeyNeeded(KeyroomError):
    """A key of the journal stays active: without it nothing that the keyroom does can be proven."""

    code = "journal-key-needed"


class LabelTaken(KeyroomError):
    """A key of this label exists, or existed."""

    code = "label-taken"


def create_key(door: Door, plan: KeyPlan, by: Actor, step: StepRef) -> KeyEntry:
    """Generate the key that an approved plan lists. It is pre-active: it has proven possession and may sign nothing.

    Raises NotListed, LabelTaken, KeyPurposeRefused, and what `Door.mandate` and the strongbox raise.
    """
    door.settle()
    facts: dict[str, Any] = {
        "kind": GENERATE,
        "summary": f"Generate {plan.role} key {plan.label}",
        "what": entries.plan_facts(plan),
    }
    try:
        check_plan(plan.role, plan.algorithm)
        mandate = door.mandate(step, GENERATE)
        if plan.fields not in mandate.shown.get("keys", []):
            raise NotListed(f"key {plan.label} is not in the approved plan of {step.ceremony}")
        if any(key.label == plan.label for key in door.keyring):
            raise LabelTaken(f"a key {plan.label} exists already", hint="give the new key a label of its own")
    except REFUSALS as error:
        door.ledger.record([entries.key_denied(GENERATE, by, facts, error)])
        raise
    cka_id = door.surroundings.entropy(16)
    planned = {"id": cka_id.hex(), "label": plan.label, "token": door.strongbox.token_serial(plan.token)}
    facts["what"] = {**facts["what"], "token": plan.token}
    # A crash after this commit leaves an intent that names the CKA_ID, and perhaps an object: recovery destroys what
    # it finds by that id and closes the intent as unknown.
    (intent,) = door.ledger.commit(
        lambda _: [entries.key_intent(GENERATE, by, [planned], facts, context(mandate))],
        lambda _: ((), ()),
        settles=False,
    )
    started = door.surroundings.mono_us()
    try:
        made = door.strongbox.generate(plan.token, cka_id, plan.label, plan.algorithm)
    except REFUSALS as error:
        failed = entries.out_failed(error, door.surroundings.mono_us() - started)
        _close(door, entries.key_outcome(intent, by, planned, facts, failed))
        raise
    us = door.surroundings.mono_us() - started
    return _register(door, (plan, planned, made), (intent, by, facts), us)


def _register(
    door: Door,
    key: tuple[KeyPlan, Mapping[str, str], MadeKey],
    done: tuple[Placed, Actor, Mapping[str, Any]],
    us: int,
) -> KeyEntry:
    """Write the outcome of a generation and the key's row. key = (plan, CKA_ID and token, what the token made).

    done = (intent, actor, facts of the intent).
    """
    (plan, planned, made), (intent, by, facts) = key, done
    entry = KeyEntry(
        spki=made.name.spki, label=plan.label, role=plan.role, scope=plan.scope, algorithm=plan.algorithm,
        token=plan.token, token_serial=made.token_serial, cka_id=planned["id"], state="pre-activation", uses=0,
        thumbprint=CoseKey.from_spki(made.public_key).thumbprint.hex(),
    )  # fmt: skip
    what = {**facts["what"], "attributes": dict(made.attributes), "thumbprint": entry.thumbprint}
    blobs: list[bytes] = []
    out: dict[str, Any] = {"rv": "CKR_OK", "status": "ok", "us": us}
    if plan.role in UNPUBLISHED:
        what["unpublished"] = True
    else:
        blobs = [public_key_pem(made.public_key), made.public_key, made.challenge]
        what["challenge"] = _sha256(made.challenge)
        out = entries.out_ok(_sha256(blobs[0]), [made.proof], us)
    outcome = entries.key_outcome(intent, by, entry.fields, {**facts, "what": what}, out)

    def follow(placed: Sequence[Placed]) -> tuple[list[Insert], list[bytes]]:
        row = {name: getattr(entry, name) for name in entry.__struct_fields__}
        rows = [Insert(KeyRow, {**row, "created_seq": placed[0].seq})]
        if blobs:
            document = {"sha256": out["doc"], "seq": placed[0].seq, "kind": "public-key", "name": plan.label}
            rows.append(Insert(DocumentRow, document))
        return rows, blobs

    # A crash before this commit leaves the object and the open intent; after it the key is there, with its row, and
    # the step goes on with the keys that are still to be made.
    door.ledger.commit(lambda _: [outcome], follow, settles=True)
    door.keyring.put(entry)
    return entry


def destroy_key(door: Door, label: str, by: Actor, step: StepRef) -> None:
    """Destroy the key that an approved plan lists. Its public half and its signatures stay.

    Raises NotListed, KeyUnknown, KeyTransitionRefused, JournalKeyNeeded, and what `Door.mandate` and the strongbox
    raise.
    """
    door.settle()
    facts: dict[str, Any] = {"kind": DESTROY, "summary": f"Destroy key {label}", "what": {"label": label}}
    try:
        key = door.keyring.labelled(label)
        mandate = door.mandate(step, DESTROY)
        if {"label": label, "spki": key.spki} not in mandate.shown.get("destroy", []):
            raise NotListed(f"the destruction of key {label} is not in the approved plan of {step.ceremony}")
        check_change(door, [key], "destroyed")
    except REFUSALS as error:
        door.ledger.record([entries.key_denied(DESTROY, by, facts, error)])
        raise
    facts["what"] = {"label": label, "token": key.token}
    intent_draft = entries.key_intent(DESTROY, by, [key.fields], facts, context(mandate))
    # A crash after this commit leaves the intent, and the object or not: recovery looks. Gone, it writes the outcome;
    # there, it closes the intent as unknown and the key is as it was.
    (intent,) = door.ledger.commit(lambda _: [intent_draft], lambda _: ((), ()), settles=False)
    started = door.surroundings.mono_us()
    try:
        door.strongbox.destroy(key.token, bytes.fromhex(key.cka_id))
    except REFUSALS as error:
        out = entries.out_failed(error, door.surroundings.mono_us() - started)
        _close(door, entries.key_outcome(intent, by, key.fields, facts, out))
        raise
    out = {"rv": "CKR_OK", "status": "ok", "us": door.surroundings.mono_us() - started}
    outcome = entries.key_outcome(intent, by, key.fields, facts, out)
    change = Update(KeyRow, {"spki": key.spki}, {"state": "destroyed"})
    # A crash before this commit: the object is gone and the intent open; recovery writes this outcome and this row.
    door.ledger.commit(lambda _: [outcome], lambda _: ([change], ()), settles=True)
    door.keyring.put(msgspec.structs.replace(key, state="destroyed"))


class Grounds(TypedDict, total=False):
    """Why a state changes: a reason in words, the approved step that says so."""

    why: str
    step: StepRef


def change_states(door: Door, labels: Sequence[str], state: str, by: Actor, **grounds: Unpack[Grounds]) -> None:
    """Bring keys from their states to another, in one transaction. Suspension needs no step; everything else does.

    Raises KeyUnknown, KeyTransitionRefused, JournalKeyNeeded, NotListed, and what `Door.mandate` raises.
    """
    door.settle()
    try:
        keys = [door.keyring.labelled(label) for label in labels]
        check_change(door, keys, state)
        mandate = _demand_states(door, labels, state, grounds.get("step"))
    except REFUSALS as error:
        door.ledger.record([entries.state_denied(labels, state, by, error)])
        raise
    drafts = [entries.key_state(key, state, by, grounds.get("why", ""), context(mandate)) for key in keys]
    # One commit: a crash before it leaves every key as it was, a crash after it leaves all of them changed.
    door.ledger.record(drafts, [Update(KeyRow, {"spki": key.spki}, {"state": state}) for key in keys])
    for key in keys:
        door.keyring.put(msgspec.structs.replace(key, state=state))
    if adopt_log_key(door):
        # Before genesis can close: from then on no start is accepted without an anchor. A crash before this leaves
        # none, and genesis open; the start then goes on with it. Later there is one by the keys of before.
        door.ledger.anchor()


def check_change(door: Door, keys: Sequence[KeyEntry], state: str) -> None:
    """Raises JournalKeyNeeded when no key would sign the journal any more, KeyTransitionRefused when no way leads."""
    staying = [key for key in door.keyring.active("journal") if key not in keys]
    for key in keys:
        if key.role == "journal" and state != "active" and not staying:
            raise JournalKeyNeeded(
                f"key {key.label} signs the journal and cannot become {state}",
                hint="stop the keyroom instead: without this key it answers nothing",
            )
        check_transition(key, state)


def _demand_states(door: Door, labels: Sequence[str], state: str, step: StepRef | None) -> Mandate | None:
    """The mandate under which these keys take this state; any officer may suspend, so that needs none."""
    if state == "suspended" and step is None:
        return None
    mandate = door.mandate(step or StepRef("none", "none"), f"key.{state}")
    listed = mandate.shown.get("states", {}).get(state, [])
    unlisted = [label for label in labels if label not in listed]
    if unlisted:
        raise NotListed(f"keys {', '.join(unlisted)} may not become {state} by {mandate.ceremony}")
    return mandate


def adopt_log_key(door: Door) -> bool:
    """From the moment a journal key is active, checkpoints are signed by it; the first covers all of genesis. Every
    active one signs: the journal's entries say which they are, no row.

    Whether the log has these keys since just now.
    """
    keys = [key for key in door.ledger.replay.keys.values() if key.role == "journal"]
    active = [key for key in keys if key.state == "active"]
    signers = [Signer(log_vkey(door.ledger, key), partial(door.strongbox.sign, key_name(key))) for key in active]
    vkeys = tuple(signer.vkey for signer in signers)
    if not signers or (door.ledger.log_key is not None and door.ledger.log_key.vkeys == vkeys):
        return False
    earlier = [log_vkey(door.ledger, key) for key in keys if key.state not in ("pre-activation", "active")]
    door.ledger.log_key = LogKey(signers, earlier)
    return True


def log_vkey(ledger: Ledger, key: KeyEntry) -> VerifierKey:
    """A journal key as verifiers know it. Raises KeyUnknown."""
    public_key = ledger.store.blob(key.spki)
    if public_key is None:
        raise KeyUnknown(f"the public half of the journal key {key.label} is missing", hint="restore the database")
    return verifier_key(ledger.journal.origin, public_key)


def context(mandate: Mandate | None) -> dict[str, Any]:
    """cer, chg and apr of an entry."""
    if mandate is None:
        return {}
    fields = {"cer": mandate.ceremony, "chg": mandate.chg, "apr": list(mandate.counted)}
    return {name: value for name, value in fields.items() if value}


def _close(door: Door, outcome: Mapping[str, Any]) -> None:
    door.ledger.commit(lambda _: [outcome], lambda _: ((), ()), settles=True)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def public_key_pem(der: bytes) -> bytes:
    """A SubjectPublicKeyInfo as PEM (RFC 7468 section 13)."""
    return load_spki(der).public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_entry(row: Row) -> KeyEntry:
    """A key from its row."""
    return KeyEntry(**{name: row[name] for name in KeyEntry.__struct_fields__})
