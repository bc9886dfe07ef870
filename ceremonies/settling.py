"""What the journal of a site box says of its grants: every certificate judged, every contradiction a finding.

The journal was verified before: nothing in it is missing, altered or signed by another key. Here the box is not
believed that it kept to its grants. What an entry says of a certificate is compared with it, byte for byte.
Pure: a state and entries give the next state, certificates and findings.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

import msgspec

from ceremonies.errors import KeyroomError
from ceremonies.granted import IMPORT, Grant
from ceremonies.replicas import BoxCertificate, Facts, read_facts, read_issued
from ceremonies.units import ISSUED
from pki.errors import PkiError
from pki.log.errors import AuditFailed
from pki.log.evidence import Statement
from pki.log.leaves import Leaf, Outcome
from pki.x509.errors import X509Error
from pki.x509.lint import lint_certificate
from pki.x509.pem import read_pem
from pki.x509.profiles import OCSP_RESPONDER
from pki.x509.reasons import REASONS, UNSPECIFIED
from pki.x509.tbs import read_tbs, split_signed

NOTICES: Final = frozenset({"unknown-outcome", "open-intent"})
"""Findings that a crash of the box explains. All others are alarms."""
TOLD: Final = 64
CONFIRM: Final = "device.confirm"
REVOKE: Final = "certificate.revoke"
OPEN: Final = 20_000
"""Certificates that were begun and not released, at most: every settlement keeps them."""
SPARE: Final = 1_000
"""Certificates that are no device's, and may be revoked beside all those that were begun."""
NUMBER: Final = re.compile("[0-7][0-9a-f]{39}", re.ASCII)
DIGEST: Final = re.compile("[0-9a-f]{64}", re.ASCII)
COUNTED: Final = {CONFIRM: "confirmed", "device.scrap": "scrapped", REVOKE: "revoked"}


class Finding(msgspec.Struct, frozen=True):
    """Something that should not be: its stable code, the entry of the box's journal, the device, a sentence."""

    code: str
    seq: int
    serial: str
    said: str


class Pending(msgspec.Struct, frozen=True):
    """A request that was begun and got no certificate yet: its first intent, that one's draft digest and grant.

    sound: nothing was found about it; nobody knows of one that was settled by an earlier release.
    """

    seq: int
    digest: str
    grant: str
    sound: bool = False


class State(msgspec.Struct):
    """What the settled part of a journal led to. current: the grant in force there. used: certificates begun, by grant,
    those of no grant of this box under an empty name.

    pending: by request. opened: intents of certificates that no entry has closed. ts: time of the last entry.
    """

    current: str = ""
    used: dict[str, int] = msgspec.field(default_factory=dict)
    pending: dict[str, Pending] = msgspec.field(default_factory=dict)
    opened: set[int] = msgspec.field(default_factory=set)
    ts: str = ""


class Held(msgspec.Struct, frozen=True):
    """What a box is held to: its grants by id, and how a document of its export is found.

    facts: by grant what the policy said when it was made; under an empty name what it says today.
    """

    grants: Mapping[str, Grant]
    facts: Mapping[str, Facts]
    find: Callable[[str], bytes | None]

    @property
    def ca(self) -> str:
        """The key of the box's CA (SPKI digest)."""
        return self.facts[""].issuer.spki

    def under(self, grant: str, class_name: str) -> Facts:
        """The facts of a grant; those of today for one that is not there. A class that it does not name is as today."""
        today = self.facts[""]
        facts = self.facts.get(grant, today)
        return facts if facts.fleet.has_class(class_name) else Facts(facts.issuer, today.fleet)


class Settling:
    """One pass over entries that come after those of `state`, which is changed.

    confirmed: digests of certificates. revoked: certificate numbers (40 hex digits), each with the first reason.
    """

    def __init__(self, held: Held, state: State) -> None:
        self._held = held
        self.state = state
        self.certificates: list[BoxCertificate] = []
        self.findings: list[Finding] = []
        self.counts: Counter[str] = Counter()
        self.confirmed: set[str] = set()
        self.revoked: dict[str, str] = {}

    def take(self, seq: int, leaf: Leaf) -> None:
        """Follow one entry."""
        self.state.ts = leaf.ts
        what = read_facts(leaf)
        issued = leaf.op.kind in ISSUED if leaf.op else False
        self._close(seq, leaf, issued)
        if leaf.type == IMPORT and not leaf.out:
            self._import(seq, what)
        elif leaf.type == "log.recover" and leaf.op and leaf.op.what and "lost" in leaf.op.what:
            self._find("journal-recovered", seq, "", "officers gave up entries before it: look at their devices")
        elif leaf.type in COUNTED and not leaf.out:
            self.counts[COUNTED[leaf.type]] += count_numbers(leaf)
            self._tell(seq, leaf, what)
        elif leaf.type == "key.sign.intent":
            self._begin(seq, leaf, what) if issued else self._check_use(seq, leaf)
        elif leaf.type == "key.sign.denied" and issued:
            self.counts["refused"] += 1
        elif leaf.type == "key.sign.unknown":
            self._find("unknown-outcome", seq, "", "a crash left open whether a signature was made; none was released")
        elif issued and leaf.type == "key.sign.outcome" and leaf.out and leaf.out.status == "ok":
            self._end(seq, leaf, leaf.out)

    def _tell(self, seq: int, leaf: Leaf, what: Mapping[str, str]) -> None:
        """What became of certificates that the box issued. Raises AuditFailed when it revokes more than there are."""
        if leaf.type == CONFIRM and DIGEST.fullmatch(digest := what.get("certificate", "")):
            self.confirmed.add(digest)
        elif leaf.type == REVOKE and what.get("ca") == self._held.ca:
            reason = what.get("reason", "")
            for number in filter(NUMBER.fullmatch, list_numbers(leaf)):
                self.revoked.setdefault(number, reason if reason in REASONS else UNSPECIFIED)
            if len(self.revoked) > sum(self.state.used.values()) + SPARE:
                raise AuditFailed(f"entry {seq}: it revokes more certificates than were begun", entry=seq)

    def _close(self, seq: int, leaf: Leaf, issued: bool) -> None:
        """What closes the intent of a certificate, and bears its signature, is the certificate's outcome."""
        closed = leaf.ref.i if leaf.ref else seq
        if closed in self.state.opened and leaf.out and leaf.out.sigs and not (issued and leaf.out.status == "ok"):
            self._find(
                "certificate-differs", seq, "", f"entry {closed} began a certificate, and this one tells of none"
            )
        self.state.opened.discard(closed)

    def finish(self) -> None:
        """What is left at the end: requests that nothing has answered yet."""
        for request, begun in sorted(self.state.pending.items(), key=lambda item: item[1].seq):
            self._find("open-intent", begun.seq, "", f"request {request} spent a certificate, and got none yet")

    def _find(self, code: str, seq: int, serial: str, said: str) -> None:
        self.findings.append(Finding(code, seq, serial[:TOLD], said[: 4 * TOLD]))

    def _import(self, seq: int, what: Mapping[str, str]) -> None:
        """The box takes a grant: one of ours, and newer than the one before."""
        name = what.get("grant", "")
        made, before = self._held.grants.get(name), self._held.grants.get(self.state.current)
        if made is None or made.document != what.get("document"):
            self._find("grant-unknown", seq, "", f"grant {name} was not made here for this box")
        elif before is not None and before.number >= made.number:
            self._find("grant-unknown", seq, "", f"grant {name} took the place of a newer one")
        self.state.current = name

    def _begin(self, seq: int, leaf: Leaf, what: Mapping[str, str]) -> None:
        """A certificate is begun: the first intent of its request spends it, as at the box itself. Raises AuditFailed
        when too many are open.
        """
        if max(len(self.state.pending), len(self.state.opened)) >= OPEN:
            raise AuditFailed(f"entry {seq}: more than {OPEN} certificates were begun and not released", entry=seq)
        request, serial, found = leaf.req or f"entry {seq}", what.get("serial", ""), len(self.findings)
        self.state.opened.add(seq)
        digest = str(leaf.op.digest) if leaf.op else ""
        if any(key.spki != self._held.ca for key in leaf.keys or ()):
            self._find("other-ca", seq, serial, "a key that was not certified for this box signed it")
        begun = self.state.pending.get(request)
        if begun is None:
            begun = Pending(seq, digest, what.get("grant", "")[:TOLD], sound=True)
            self._spend(seq, leaf, begun.grant, serial)
        elif begun.digest != digest:
            self._find("request-changed", seq, serial, f"request {request} had other bytes signed before")
        sound = begun.sound and len(self.findings) == found
        self.state.pending[request] = msgspec.structs.replace(begun, sound=sound)

    def _spend(self, seq: int, leaf: Leaf, name: str, serial: str) -> None:
        """One certificate of a grant."""
        grant = self._held.grants.get(name)
        counted = name if grant else ""
        self.state.used[counted] = self.state.used.get(counted, 0) + 1
        if grant is None:
            self._find("grant-unknown", seq, serial, f"it was issued under {name or 'no grant'}, none of this box")
            return
        if name != self.state.current:
            self._find("grant-replaced", seq, serial, f"it was issued under {name}, {self.state.current} was in force")
        if self.state.used[name] > grant.quantity:
            self._find("overuse", seq, serial, f"number {self.state.used[name]} of {grant.quantity} under {name}")
        if not grant.valid_from <= datetime.fromisoformat(leaf.ts).timestamp() < grant.valid_to:
            self._find("outside-window", seq, serial, f"begun at {leaf.ts}, when {name} was not valid")

    def _check_use(self, seq: int, leaf: Leaf) -> None:
        """The CA's key signs nothing that is a certificate, but for its responders': those would not be counted."""
        for data in self._read_signed(str(leaf.op.digest) if leaf.op else ""):
            responder = leaf.op and leaf.op.kind == f"certificate.{OCSP_RESPONDER.name}"
            if not (self._is_responder(data) if responder else is_none(data)):
                self._find(
                    "other-use", seq, "", "the CA's key signed a certificate that is not told as one of a device"
                )

    def _is_responder(self, data: bytes) -> bool:
        """Whether a certificate is one of a responder, by what the policy says or said."""
        for issuer in {facts.issuer.crl_url: facts.issuer for facts in self._held.facts.values()}.values():
            try:
                lint_certificate(OCSP_RESPONDER.name, data, issuer)
            except X509Error:
                continue
            return True
        return False

    def _read_signed(self, digest: str) -> list[bytes]:
        """What the CA's key signs by a draft, by the draft's statement. The audit has seen that both are there."""
        statement = self._held.find(digest)
        signed = msgspec.json.decode(statement, type=Statement).sign if statement else []
        return [self._held.find(data) or b"" for spki, data in signed if spki == self._held.ca]

    def _end(self, seq: int, leaf: Leaf, out: Outcome) -> None:
        """A certificate was released: the one that was begun."""
        what = read_facts(leaf)
        serial, document = what.get("serial", ""), self._held.find(str(out.doc))
        begun, told = self.state.pending.pop(leaf.req or "", None), len(self.findings)
        if begun is None:
            self._find("intent-missing", seq, serial, "a certificate was released that was not begun")
        elif begun.grant in self._held.grants and not self._covers(self._held.grants[begun.grant], leaf, what):
            self._find("other-class", seq, serial, f"{what.get('class')} in this form is not granted by {begun.grant}")
        if document is None:
            self._find("document-missing", seq, serial, "the export holds no copy of the certificate")
            return
        try:
            facts = self._held.under(begun.grant if begun else "", what.get("class", ""))
            found = read_issued(facts, (seq, leaf), document)
            self._check_signed(begun, document)
        except (PkiError, KeyroomError, msgspec.ValidationError, ValueError, KeyError) as error:
            self._find("certificate-differs", seq, serial, f"not what its entry says: {error}")
            return
        sound = begun is not None and begun.sound and len(self.findings) == told
        self.certificates.append(msgspec.structs.replace(found, sound=sound))

    def _check_signed(self, begun: Pending | None, document: bytes) -> None:
        """Raises AuditFailed unless the certificate is what its intent had signed."""
        tbs = split_signed(read_pem(document, "CERTIFICATE"))[0]
        if begun is None or tbs not in self._read_signed(begun.digest):
            raise AuditFailed("its intent had something else signed")

    def _covers(self, grant: Grant, leaf: Leaf, what: Mapping[str, str]) -> bool:
        profile = str(leaf.op.kind if leaf.op else "").removeprefix("certificate.")
        name = what.get("class", "")
        fleet = self._held.under(grant.id, name).fleet
        return profile in grant.profiles and fleet.has_class(name) and fleet.class_id(name).hex() in grant.classes


def count_numbers(leaf: Leaf) -> int:
    """How many certificates an entry names by their numbers; one where it names none."""
    return len(list_numbers(leaf)) or 1


def list_numbers(leaf: Leaf) -> list[str]:
    """The certificates that an entry names by their numbers."""
    numbers = (leaf.op.what or {}).get("numbers") if leaf.op else None
    return [item for item in numbers if isinstance(item, str)] if isinstance(numbers, list) else []


def is_none(data: bytes) -> bool:
    """Whether bytes are no certificate that is to be signed."""
    try:
        read_tbs(data)
    except X509Error:
        return True
    return False
