"""What the journal of a site box says of its grants: every certificate judged, every contradiction a finding.

The journal was verified before: nothing in it is missing, altered or signed by another key. Here the box is not
believed that it kept to its grants. What an entry says of a certificate is compared with it, byte for byte.
Pure: a state and entries give the next state, certificates and findings.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from ceremonies.errors import KeyroomError
from ceremonies.fleet import Fleet
from ceremonies.granted import IMPORT, Grant
from ceremonies.revoked import write_number
from ceremonies.units import ISSUED
from pki.errors import PkiError
from pki.log.errors import AuditFailed
from pki.log.leaves import Leaf, Outcome
from pki.signatures import der_to_raw, verify_raw
from pki.x509.certificates import prepare_certificate
from pki.x509.intake import Place, name_subject
from pki.x509.issuers import Issuer
from pki.x509.pem import read_pem
from pki.x509.profiles import find_profile
from pki.x509.rules import ORGANIZATION
from pki.x509.tbs import read_name, read_tbs, read_time, split_signed
from pki.x509.terms import Terms

NOTICES: Final = frozenset({"unknown-outcome", "open-intent"})
"""Findings that a crash of the box explains. All others are alarms."""
COUNTED: Final = {"device.confirm": "confirmed", "device.scrap": "scrapped"}


class Finding(msgspec.Struct, frozen=True):
    """Something that should not be: its stable code, the entry of the box's journal, the device, a sentence."""

    code: str
    seq: int
    serial: str
    said: str


class BoxCertificate(msgspec.Struct, frozen=True):
    """A device certificate of the box's journal. public_key: SPKI, DER. rework: it replaces another of its serial."""

    serial: str
    spki: str
    public_key: bytes
    number: str
    document: str
    class_name: str
    work_order: str
    rework: bool
    seq: int


class State(msgspec.Struct):
    """What the settled part of a journal led to. current: the grant in force there. used: certificates begun, by grant.

    pending: requests that were begun and got no certificate, with their entries. ts: time of the last entry.
    """

    current: str = ""
    used: dict[str, int] = msgspec.field(default_factory=dict)
    pending: dict[str, int] = msgspec.field(default_factory=dict)
    ts: str = ""


class Held(msgspec.Struct, frozen=True):
    """What a box is held to: its CA, its grants by id, the fleet; and how a document of its export is found."""

    issuer: Issuer
    grants: Mapping[str, Grant]
    fleet: Fleet
    find: Callable[[str], bytes | None]


class Settling:
    """One pass over entries that come after those of `state`, which is changed."""

    def __init__(self, held: Held, state: State) -> None:
        self._held = held
        self.state = state
        self.certificates: list[BoxCertificate] = []
        self.findings: list[Finding] = []
        self.counts: Counter[str] = Counter()

    def take(self, seq: int, leaf: Leaf) -> None:
        """Follow one entry."""
        self.state.ts = leaf.ts
        what: Mapping[str, Any] = (leaf.op.what or {}) if leaf.op else {}
        issued = leaf.op.kind in ISSUED if leaf.op else False
        if leaf.type == IMPORT and not leaf.out:
            self._import(seq, what)
        elif leaf.type == "log.recover" and "lost" in what:
            self._find("journal-recovered", seq, "", f"officers gave up entries {what['lost']}: look at their devices")
        elif leaf.type in COUNTED and not leaf.out:
            self.counts[COUNTED[leaf.type]] += 1
        elif leaf.type == "certificate.revoke":
            self.counts["revoked"] += len(what.get("numbers", ()))
        elif issued and leaf.type == "key.sign.intent":
            self._begin(seq, leaf, what)
        elif issued and leaf.type == "key.sign.denied":
            self.counts["refused"] += 1
        elif leaf.type == "key.sign.unknown":
            self._find("unknown-outcome", seq, "", "a crash left open whether a signature was made; none was released")
        elif issued and leaf.type == "key.sign.outcome" and leaf.out and leaf.out.status == "ok":
            self._end(seq, leaf, leaf.out)

    def finish(self) -> None:
        """What is left at the end: requests that nothing has answered yet."""
        for request, seq in sorted(self.state.pending.items(), key=lambda item: item[1]):
            self._find("open-intent", seq, "", f"request {request} spent a certificate of the grant, and got none yet")

    def _find(self, code: str, seq: int, serial: object, said: str) -> None:
        self.findings.append(Finding(code, seq, str(serial), said))

    def _import(self, seq: int, what: Mapping[str, Any]) -> None:
        """The box takes a grant: one of ours, and newer than the one before."""
        name = str(what.get("grant"))
        made, before = self._held.grants.get(name), self._held.grants.get(self.state.current)
        if made is None or made.document != what.get("document"):
            self._find("grant-unknown", seq, "", f"grant {name} was not made here for this box")
        elif before is not None and before.number >= made.number:
            self._find("grant-unknown", seq, "", f"grant {name} took the place of a newer one")
        self.state.current = name

    def _begin(self, seq: int, leaf: Leaf, what: Mapping[str, Any]) -> None:
        """A certificate is begun: the first intent of its request spends it, as at the box itself."""
        request = leaf.req or f"entry {seq}"
        if request in self.state.pending:
            return
        self.state.pending[request] = seq
        name, serial = str(what.get("grant", "")), what.get("serial", "")
        self.state.used[name] = self.state.used.get(name, 0) + 1
        if any(key.spki != self._held.issuer.spki for key in leaf.keys or ()):
            self._find("other-ca", seq, serial, "a key that was not certified for this box signed it")
        grant = self._held.grants.get(name)
        if grant is None:
            self._find("grant-unknown", seq, serial, f"it was issued under {name or 'no grant'}, none of this box")
            return
        if name != self.state.current:
            self._find("grant-replaced", seq, serial, f"it was issued under {name}, {self.state.current} was in force")
        if self.state.used[name] > grant.quantity:
            self._find("overuse", seq, serial, f"number {self.state.used[name]} of {grant.quantity} under {name}")
        if not grant.valid_from <= datetime.fromisoformat(leaf.ts).timestamp() < grant.valid_to:
            self._find("outside-window", seq, serial, f"begun at {leaf.ts}, when {name} was not valid")
        kind = leaf.op.kind if leaf.op and leaf.op.kind else ""
        if kind.removeprefix("certificate.") not in grant.profiles or not self._covers(grant, what):
            self._find("other-class", seq, serial, f"{kind} of {what.get('class')} is not granted by {name}")

    def _covers(self, grant: Grant, what: Mapping[str, Any]) -> bool:
        known = {item.name for item in self._held.fleet.classes}
        name = str(what.get("class", ""))
        return name in known and self._held.fleet.class_id(name).hex() in grant.classes

    def _end(self, seq: int, leaf: Leaf, out: Outcome) -> None:
        """A certificate was released."""
        what = (leaf.op.what or {}) if leaf.op else {}
        if self.state.pending.pop(leaf.req or "", None) is None:
            self._find("intent-missing", seq, what.get("serial", ""), "a certificate was released that was not begun")
        document = self._held.find(str(out.doc))
        if document is None:
            self._find("document-missing", seq, what.get("serial", ""), "the export holds no copy of the certificate")
            return
        try:
            found = read_issued(self._held, (seq, leaf), document)
        except (PkiError, KeyroomError, ValueError, KeyError) as error:
            self._find("certificate-differs", seq, what.get("serial", ""), f"not what its entry says: {error}")
            return
        self.certificates.append(found)


def read_issued(held: Held, entry: tuple[int, Leaf], document: bytes) -> BoxCertificate:
    """The certificate that an entry released, made once more from the entry's facts and compared byte for byte.

    Raises AuditFailed when it says something else; and what is wrong with a certificate that does not parse, or does not bear the profile's
    form or the CA's signature.
    """
    seq, leaf = entry
    if not leaf.op or not leaf.op.what or not leaf.out:
        raise AuditFailed(f"entry {seq} has no facts", entry=seq)
    what, name = leaf.op.what, str(leaf.op.kind).removeprefix("certificate.")
    tbs, _, signature = split_signed(read_pem(document, "CERTIFICATE"))
    verify_raw(held.issuer.public_key, der_to_raw(signature, 32), tbs)
    read, profile = read_tbs(tbs), find_profile(name)
    organization = {item.oid: item.value.decode() for item in read_name(read.subject)}.get(ORGANIZATION, "")
    device_class = held.fleet.device_class(what["class"])
    place = Place(name, organization, device_class.name, held.issuer, device_class.hw_type)
    subject, terms = name_subject(place, profile, what["serial"]), Terms(read.serial_number, read_time(read.not_before))
    made = prepare_certificate(profile, subject, read.public_key, held.issuer, terms)
    if made.tbs != tbs or any(what.get(name) != value for name, value in made.what.items()):
        raise AuditFailed(f"the certificate with the number {read.serial_number:x} says something else", entry=seq)
    return BoxCertificate(
        serial=what["serial"], spki=made.what["subject_spki"], public_key=read.public_key,
        number=write_number(read.serial_number), document=str(leaf.out.doc), class_name=device_class.name,
        work_order=what["work_order"], rework="rework" in what, seq=seq,
    )  # fmt: skip
