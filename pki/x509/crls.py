"""Certificate revocation lists (RFC 5280 section 5): drafted without a key, and fast.

Version 2, CRL number, authority key identifier, reasons; a partition has a critical issuing distribution point with
one URI, that of its certificates' cRLDistributionPoints. Written octet by octet: cryptography's builder compares each
entry with all before it. `pki.x509.revocation` reads the result with other code.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from pki.drafts import Draft, ToSign
from pki.signatures import raw_to_der
from pki.x509.der import BIT_STRING, BOOLEAN, ENUMERATED, INTEGER, OCTET_STRING, SEQUENCE, write_element, write_oid
from pki.x509.errors import AssemblyFailed, CrlRefused, DerMalformed
from pki.x509.issuers import Issuer
from pki.x509.reasons import UNSPECIFIED, read_reason
from pki.x509.revocation import CrlFacts, Revoked, lint_crl
from pki.x509.rules import SIGNATURE_ALGORITHMS
from pki.x509.series import write_time
from pki.x509.tbs import split_signed

KIND = "crl"
LARGEST = 300_000
"""Entries of one list: about 16 MB, which is what readers of DER take here. More must be partitioned."""

_VERSION_2 = bytes.fromhex("020101")
_DUMMY = bytes.fromhex("3006020101020101")
_AUTHORITY_KEY_ID = write_oid("2.5.29.35")
_CRL_NUMBER = write_oid("2.5.29.20")
_DISTRIBUTION_POINT = write_oid("2.5.29.28")
_REASON = write_oid("2.5.29.21")
_CRITICAL = write_element(BOOLEAN, b"\xff")


class CrlTerms(msgspec.Struct, frozen=True):
    """Number and validity of one list. `url`: the one distribution point that it is for; empty: for all.

    Raises CrlRefused.
    """

    number: int
    this_update: datetime
    next_update: datetime
    url: str = ""

    def __post_init__(self) -> None:
        # At most 20 octets (RFC 5280 section 5.2.3); a journal's size has at most 53 bits.
        if not 0 <= self.number < 1 << 53 or not self.this_update < self.next_update:
            raise CrlRefused(f"CRL {self.number} from {self.this_update.isoformat()} is valid for no time")
        if not self.url.isascii() or not self.url.isprintable() or len(self.url) > 256:
            raise CrlRefused(f"{self.url[:64]!r} is no distribution point")


def draft_crl(issuer: Issuer, revoked: Sequence[Revoked], terms: CrlTerms, **facts: object) -> Draft:
    """Draft the list of what `issuer` has revoked; payload is the TBSCertList, the document DER.

    `what` has number, entries, and the times as seconds since 1970. facts: more of it.
    Raises CrlRefused, and LintFailed when the rehearsal does not say what it should.
    """
    if len(revoked) > LARGEST:
        raise CrlRefused(f"{len(revoked)} entries", hint="partition the lists: `fleet.revocation` in the policy")
    ordered = sorted(revoked)
    algorithm = find_algorithm(issuer.public_key)
    tbs = write_crl(issuer, algorithm, ordered, terms)
    facts_told = CrlFacts(terms.number, terms.this_update, terms.next_update, terms.url)
    lint_crl(_join(tbs, algorithm, _DUMMY), issuer, facts_told, ordered)

    def assemble(signatures: Mapping[str, bytes]) -> bytes:
        return assemble_crl(tbs, algorithm, signatures[issuer.spki])

    span = {"from": int(terms.this_update.timestamp()), "until": int(terms.next_update.timestamp())}
    what = {"crl_number": terms.number, "entries": len(ordered), **span}
    where = f" for {terms.url}" if terms.url else ""
    return Draft(
        kind=KIND,
        summary=f"Sign CRL {terms.number}{where}: {len(ordered)} revoked, until {_stamp(terms.next_update)}",
        payload=tbs,
        to_sign=(ToSign(issuer.spki, tbs),),
        public_keys={issuer.spki: issuer.public_key},
        what=what | facts,
        assemble=assemble,
    )


def find_algorithm(public_key: bytes) -> bytes:
    """The DER of the signature algorithm that goes with a CA's key (SPKI DER). Raises CrlRefused."""
    for start, algorithm in SIGNATURE_ALGORITHMS.items():
        if public_key.startswith(start):
            return algorithm
    raise CrlRefused("the issuer's key is not on P-256 or P-384")


def write_crl(issuer: Issuer, algorithm: bytes, ordered: Sequence[Revoked], terms: CrlTerms) -> bytes:
    """The TBSCertList (RFC 5280 section 5.1); revokedCertificates is absent when there are none."""
    entries = (write_element(SEQUENCE, *_write_entries(ordered)),) if ordered else ()
    key_id = write_element(SEQUENCE, write_element(0x80, issuer.ski))
    extensions = [_write_extension(_AUTHORITY_KEY_ID, key_id), _write_extension(_CRL_NUMBER, _integer(terms.number))]
    if terms.url:
        full_name = write_element(0xA0, write_element(0xA0, write_element(0x86, terms.url.encode("ascii"))))
        point = write_element(SEQUENCE, full_name)
        extensions.append(_write_extension(_DISTRIBUTION_POINT, point, _CRITICAL))
    return write_element(
        SEQUENCE,
        _VERSION_2,
        algorithm,
        issuer.subject,
        write_time(terms.this_update),
        write_time(terms.next_update),
        *entries,
        write_element(0xA0, write_element(SEQUENCE, *extensions)),
    )


def assemble_crl(tbs: bytes, algorithm: bytes, raw: bytes) -> bytes:
    """Join a TBSCertList, its algorithm and a raw signature; DER. Raises AssemblyFailed unless it reads back."""
    signature = raw_to_der(raw)
    der = _join(tbs, algorithm, signature)
    try:
        parts = split_signed(der)
    except DerMalformed as error:
        raise AssemblyFailed(f"the finished CRL does not parse: {error}") from error
    if parts != (tbs, algorithm, signature):
        raise AssemblyFailed("the finished CRL is not the one that was drafted")
    return der


def _join(tbs: bytes, algorithm: bytes, signature: bytes) -> bytes:
    return write_element(SEQUENCE, tbs, algorithm, write_element(BIT_STRING, b"\0", signature))


def _write_entries(ordered: Sequence[Revoked]) -> list[bytes]:
    """One element per entry. Days and reasons repeat, so each is written once."""
    days: dict[int, bytes] = {}
    ends = {reason: _write_reason(reason) for reason in {entry.reason for entry in ordered}}
    written = []
    for number, at, reason in ordered:
        day, second = divmod(at, 86_400)
        head = days.get(day)
        if head is None:
            head = days[day] = write_time(datetime.fromtimestamp(day * 86_400, UTC))[:-7]
        octets = number.to_bytes(number.bit_length() // 8 + 1, "big")
        end = ends[reason]
        # At most 21 octets of number and 31 behind it: all lengths are in the short form.
        size = 2 + len(octets) + len(head) + 7 + len(end)
        clock = b"%02d%02d%02dZ" % (second // 3600, second // 60 % 60, second % 60)
        written.append(b"\x30%c\x02%c%b%b%b%b" % (size, len(octets), octets, head, clock, end))
    return written


def _write_reason(reason: str) -> bytes:
    """The extension of an entry, absent where the reason is unspecified (RFC 5280 section 5.3.1)."""
    code = read_reason(reason)
    if reason == UNSPECIFIED:
        return b""
    return write_element(SEQUENCE, _write_extension(_REASON, write_element(ENUMERATED, bytes((code,)))))


def _write_extension(oid: bytes, value: bytes, critical: bytes = b"") -> bytes:
    return write_element(SEQUENCE, oid, critical, write_element(OCTET_STRING, value))


def _integer(value: int) -> bytes:
    return write_element(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _stamp(time: datetime) -> str:
    return time.isoformat()[:19] + "Z"
