"""Steps as the keyroom shows them, for the officers' tool."""

import base64
import datetime
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ceremonies.approvals import ApprovalTemplate, LogCheckpoint
from ceremonies.officers import Officer, Roster
from pki.drafts import Draft, ToSign
from pki.jcs import jcs, parse_json
from pki.signatures import spki_sha256
from tests.api.answers import DIGEST

PLAN = {
    "action": "new-key",
    "content": {"reason": "first\u202eclass", "note": "tab\there"},
    "destroy": [{"label": "image-app-0"}],
    "keys": [{"label": "image-app-1", "role": "image-app", "token": "kedge", "algorithm": "p256", "scope": "bms"}],
    "states": {"active": ["image-app-1"]},
    "type": "kedge/plan/v1",
    "v": 1,
}


def make_roster(**keys: Path) -> Roster:
    """A roster of officers with the keys beside these private keys."""
    lines = {name: " ".join(path.with_suffix(".pub").read_text().split()[:2]) for name, path in keys.items()}
    return Roster(tuple(Officer(name, f"officer-{name}", (line,), ("officer",)) for name, line in lines.items()))


def make_template(step: str, shown: bytes, **changes: Any) -> ApprovalTemplate:
    """The statement's template for what a step shows."""
    content = parse_json(shown, 1 << 20)
    drafts: Any = content.get("drafts", []) if isinstance(content, dict) else []
    values: dict[str, Any] = {
        "action": "new-key",
        "ceremony": "new-key-1",
        "step": step,
        "draft": Draft(f"ceremony.{step}", "", shown, (), {}, {}, lambda _: b"").digest,
        "signers": tuple(sorted({item[0] for draft in drafts for item in draft["statement"]["sign"]})),
        "summary": f"new-key, {step} of ceremony new-key-1",
        "params": {},
        "policy_sha256": DIGEST,
        "software_sha256": DIGEST,
        "log_checkpoint": LogCheckpoint(417, DIGEST),
        "m": 2,
        "n": 3,
        "not_after": datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC),
        "nonce": "00" * 16,
    }
    return ApprovalTemplate(**{**values, **changes})


def write_step(path: Path, step: str, content: Any, roster: Roster | None = None, **changes: Any) -> Path:
    """An exported step; `roster` comes with it, `changes` are to the template."""
    shown = content if isinstance(content, bytes) else jcs(content)
    named = {"params": {"roster_sha256": roster.digest}} if roster else {}
    template = make_template(step, shown, **{**named, **changes})
    fields = {
        "ceremony": "new-key-1",
        "action": template.action,
        "roster": base64.b64encode(roster.document).decode() if roster else "",
        "step": step,
        "template": base64.b64encode(template.document).decode(),
        "shown": base64.b64encode(shown).decode(),
    }
    path.write_text(json.dumps(fields))
    return path


def show_draft(kind: str, payload: bytes, data: bytes | None = None) -> dict[str, Any]:
    """A draft of one key, as a results step shows it; `data` is what the key signs, the payload unless given."""
    key = ec.derive_private_key(7, ec.SECP256R1()).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    to_sign = (ToSign(spki_sha256(spki), payload if data is None else data),)
    draft = Draft(kind, f"make a {kind}", payload, to_sign, {spki_sha256(spki): spki}, {}, lambda _: b"")
    return {
        "digest": draft.digest,
        "kind": kind,
        "name": f"{kind}-1",
        "payload": base64.urlsafe_b64encode(payload).rstrip(b"=").decode(),
        "statement": json.loads(draft.statement),
        "summary": draft.summary,
    }


def results(*drafts: dict[str, Any]) -> dict[str, Any]:
    """What a results step shows."""
    return {"drafts": list(drafts), "keys": [], "states": {}, "type": "kedge/results/v1", "v": 1}
