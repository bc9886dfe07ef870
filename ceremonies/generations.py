"""Generations of CAs, as the entries have them: which CA is whose successor, and which of them issues.

Part of `ceremonies.replay`. The generations of a CA have one name but for the number at its end. The first one issues
from the beginning, a later one from the entry `certificate.switch` on that says so; there is no way back.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
from cryptography.x509.oid import NameOID

from ceremonies.errors import KeyroomError
from ceremonies.journal import EntryDraft
from ceremonies.keyring import KeyEntry
from ceremonies.revoked import write_number
from pki.x509.issuers import Issuer, read_certificate

SWITCH: Final = "certificate.switch"
PROFILES: Final = ("identity-root", "device-ca", "site-ca", "service-ca")
LINK: Final = "certificate.root-link"
AUTHORITIES: Final = frozenset(f"certificate.{profile}" for profile in PROFILES)
"""The certificates of CAs themselves."""
AT_ANY_TIME: Final = frozenset({"crl", "certificate.ocsp-responder", "certificate-request", LINK})
"""What a CA signs that issues not yet, or no more: what its own certificates need, what joins it to another, and, at a
site box, what it asks its centre.
"""
Standing = Literal["issuing", "pending", "superseded", ""]


class AuthorityNotIssuing(KeyroomError):
    """Another generation of the CA issues now."""

    code = "authority-not-issuing"


class Authority(msgspec.Struct, frozen=True):
    """A CA: its key, its profile, whose generation it is (`name`: profile and subject without the number); of its
    certificate the digest, the end (RFC 3339, UTC), the key that signed it (`ca`) and its number (40 hex digits).
    """

    spki: str
    profile: str
    name: str
    generation: int
    document: str
    not_after: str
    ca: str
    number: str
    serial: str = ""


class Generations(msgspec.Struct):
    """Follows the entries about CAs. known: by key (spki). issuing: the key that issues, by name."""

    known: dict[str, Authority] = msgspec.field(default_factory=dict)
    issuing: dict[str, str] = msgspec.field(default_factory=dict)

    def take_certificate(self, entry: EntryDraft) -> None:
        """Follow the outcome of a CA's certificate."""
        what: Mapping[str, Any] = entry["op"]["what"]
        name, _, generation = what["subject"].rpartition(" G")
        made = Authority(
            what["subject_spki"], what["profile"], f"{what['profile']} {name}", int(generation), entry["out"]["doc"],
            what["not_after"], entry["keys"][0]["spki"], write_number(int(what["certificate_number"], 16)),
        )  # fmt: skip
        self.known[made.spki] = made
        self.issuing.setdefault(made.name, made.spki)

    def take_imported(self, facts: Mapping[str, Any]) -> None:
        """Follow the certificate of a CA that another keyroom signed; facts: those of an `Authority`."""
        made = msgspec.convert(facts, Authority)
        self.known[made.spki] = made
        self.issuing.setdefault(made.name, made.spki)

    def take_switch(self, what: Mapping[str, Any]) -> None:
        """Follow an entry `certificate.switch`."""
        self.issuing[self.known[what["to"]].name] = what["to"]

    def generations(self, name: str) -> list[Authority]:
        """All of one CA, oldest first. From any thread."""
        return sorted((item for item in list(self.known.values()) if item.name == name), key=lambda a: a.generation)

    def standing(self, spki: str) -> Standing:
        """What a key is to its CA; empty when it has no certificate of one."""
        mine = self.known.get(spki)
        if mine is None:
            return ""
        now = self.known[self.issuing[mine.name]]
        if now == mine:
            return "issuing"
        return "pending" if mine.generation > now.generation else "superseded"

    def issuers(self, profile: str) -> list[str]:
        """The keys that issue as CAs of this profile; one for each name."""
        return [spki for spki in list(self.issuing.values()) if self.known[spki].profile == profile]

    def is_same(self, one: str, other: str) -> bool:
        """Whether two keys are generations of one CA."""
        return one in self.known and other in self.known and self.known[one].name == self.known[other].name

    def check_issues(self, key: KeyEntry, kind: str) -> None:
        """Raises AuthorityNotIssuing unless a CA's key may sign this kind of draft: its own certificate, lists and
        responders always, anything else while it issues. Keys of other roles may.
        """
        if key.role not in PROFILES or kind in AT_ANY_TIME or kind == f"certificate.{key.role}":
            return
        standing = self.standing(key.spki)
        if standing != "issuing":
            raise AuthorityNotIssuing(
                f"CA {key.label} is {standing or 'without a certificate'} and issues no {kind.partition('.')[2]}",
                hint="another generation issues; see `kedge key list`",
            )


def describe_authority(issuer: Issuer, profile: str, ca: str) -> dict[str, Any]:
    """The facts of an `Authority`: a CA whose certificate another keyroom signed; ca: with which key (SPKI digest)."""
    certificate = read_certificate(issuer.certificate)
    name, _, generation = str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value).rpartition(" G")
    return {
        "spki": issuer.spki, "profile": profile, "name": f"{profile} {name}", "ca": ca,
        "generation": int(generation) if generation.isdecimal() else 1,
        "document": hashlib.sha256(issuer.certificate).hexdigest(),
        "not_after": f"{certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
        "number": write_number(certificate.serial_number),
    }  # fmt: skip
