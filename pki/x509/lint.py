"""Lints: does a certificate say exactly what its profile says, no more and no less?

They run on the rehearsed certificate, before the strongbox is asked, and read it with other code than built it.
"""

import hashlib
import re
from datetime import datetime

import msgspec

from pki.x509.der import OCTET_STRING, OID, SEQUENCE, content, read_children, read_whole, tags, whole, write_element
from pki.x509.errors import DerMalformed, IssuerRefused, LintFailed
from pki.x509.rules import (
    AUTHORITY_KEY_ID,
    COMMON_NAME,
    CRL_POINTS,
    DEVICE_POLICY,
    DEVICE_TEST_POLICIES,
    NAME_CONSTRAINTS,
    NEVER,
    POLICIES,
    RULES,
    SERIAL_NUMBER,
    SIGNATURE_ALGORITHMS,
    SUBJECT_ALT_NAME,
    SUBJECT_KEY_ID,
    Rules,
)
from pki.x509.tbs import Tbs, read_extensions, read_name, read_tbs, read_time, split_signed

_PRINTABLE, _UTF8 = 0x13, 0x0C
_GENERATION = re.compile(rb".+ G[1-9][0-9]{0,3}")
_DEVICE_SERIAL = re.compile(rb"[A-Z0-9](?:[A-Z0-9.-]{0,62}[A-Z0-9])?")
_CRL_URL = re.compile(r"http://[A-Za-z0-9.:~_/\[\]-]{1,200}(?<!/)")
_HARDWARE_MODULE_NAME = bytes.fromhex("06082b06010505070804")  # id-on-hardwareModuleName, RFC 4108 section 5
# No host and no address: dNSName "", iPAddress 0.0.0.0/0 and ::/0.
_NO_HOSTS = write_element(
    0xA1,
    write_element(SEQUENCE, b"\x82\x00"),
    write_element(SEQUENCE, b"\x87\x08" + bytes(8)),
    write_element(SEQUENCE, b"\x87\x20" + bytes(32)),
)


class IssuerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the policy says of a CA beside its certificate. Raises IssuerRefused.

    crl_url: the http URL under which the CRLs of its partitions are served, with the CA's label and without a slash at
    its end; empty: the certificates name no CRL. test_root: certificates for IEEE 2030.5 say that they are for tests.
    """

    crl_url: str = ""
    test_root: bool = False

    def __post_init__(self) -> None:
        if self.crl_url and _CRL_URL.fullmatch(self.crl_url) is None:
            hint = "use http://<host>/crl/<label of the CA>"
            raise IssuerRefused(f"{self.crl_url[:80]!r} is no URL under which CRLs are served", hint=hint)


class IssuerFacts(IssuerOptions, frozen=True):
    """What the lints must know of an issuer: its key (SPKI DER), name (DER), key identifier and validity."""

    public_key: bytes
    subject: bytes
    ski: bytes
    not_before: datetime
    not_after: datetime


def lint_certificate(profile: str, der: bytes, issuer: IssuerFacts | None) -> Tbs:
    """Check a certificate, or a to-be-signed one, against the rules of its profile and its issuer.

    issuer is None for a self-signed certificate. The signature is not checked here.
    Raises LintFailed with every finding.
    """
    rules = RULES.get(profile)
    if rules is None:
        raise _refuse(profile, ["there are no lints for this profile"])
    if rules.self_signed != (issuer is None):
        raise _refuse(profile, ["a self-signed certificate has no issuer, every other has one"])
    try:
        tbs = read_tbs(_take_tbs(der))
        facts = issuer or _own_facts(rules, tbs)
        findings = [
            *_check_number_key_algorithm(rules, tbs, facts),
            *_check_validity(rules, tbs, facts),
            *_check_names(rules, tbs, facts),
            *_check_extensions(rules, tbs, facts),
        ]
    except DerMalformed as error:
        raise _refuse(profile, [error.message]) from error
    if findings:
        raise _refuse(profile, findings)
    return tbs


def _refuse(profile: str, findings: list[str]) -> LintFailed:
    hint = "nothing was signed; this is a defect of Kedge, report it"
    return LintFailed(f"{profile[:64]}: {'; '.join(findings)}", hint=hint, findings=tuple(findings))


def _take_tbs(der: bytes) -> bytes:
    """A certificate's first field is its TBS, a SEQUENCE; that of a TBS is the version, [0]."""
    if content(der, read_whole(der, SEQUENCE))[:1] != b"\x30":
        return der
    tbs, outer, _ = split_signed(der)
    if read_tbs(tbs).algorithm != outer:
        raise DerMalformed("the two signature algorithms differ")
    return tbs


def _own_facts(rules: Rules, tbs: Tbs) -> IssuerFacts:
    begin, end = read_time(tbs.not_before), read_time(tbs.not_after)
    return IssuerFacts(tbs.public_key, tbs.subject, _key_identifier(rules, tbs.public_key), begin, end)


def _key_identifier(rules: Rules, public_key: bytes) -> bytes:
    """RFC 7093 section 2 method 1: the left 160 bits of SHA-256 over the point."""
    return hashlib.sha256(public_key[len(rules.key) :]).digest()[:20]


def _check_number_key_algorithm(rules: Rules, tbs: Tbs, issuer: IssuerFacts) -> list[str]:
    findings = []
    # At most 20 octets (RFC 5280 section 4.1.2.2), at least 64 bits from a random source (CA/B Forum BR 7.1).
    if not 1 << 64 <= tbs.serial_number < 1 << 159:
        findings.append("the serial number is not between 2^64 and 2^159")
    if not tbs.public_key.startswith(rules.key + b"\x04") or len(tbs.public_key) != tbs.public_key[1] + 2:
        findings.append("the key is not an uncompressed point of the profile's curve")
    algorithms = [value for start, value in SIGNATURE_ALGORITHMS.items() if issuer.public_key.startswith(start)]
    if [tbs.algorithm] != algorithms:
        findings.append("the signature algorithm is not the one of the issuer's key")
    return findings


def _check_validity(rules: Rules, tbs: Tbs, issuer: IssuerFacts) -> list[str]:
    findings = []
    begin = read_time(tbs.not_before)
    if begin < issuer.not_before and not rules.backdated:
        findings.append("it begins before its issuer")
    if rules.longest is None:
        if tbs.not_after != NEVER:
            findings.append("notAfter is not 99991231235959Z as GeneralizedTime")
        return findings
    end = read_time(tbs.not_after)
    if not begin < end:
        findings.append("it ends before it begins")
    if end - begin > rules.longest:
        findings.append(f"it is valid for more than {rules.longest.days} days")
    if end > issuer.not_after:
        findings.append("it ends after its issuer")
    return findings


def _check_names(rules: Rules, tbs: Tbs, issuer: IssuerFacts) -> list[str]:
    findings = []
    if tbs.issuer != issuer.subject:
        findings.append("the issuer is not the issuer's subject, octet for octet")
    if not rules.self_signed and tbs.subject == issuer.subject:
        findings.append("the subject is the issuer's")
    attributes = own = read_name(tbs.subject)
    if rules.within_issuer:
        above = read_name(issuer.subject)[:-1]
        own = attributes[len(above) :]
        if attributes[: len(above)] != above:
            findings.append("the subject does not begin with the issuer's names")
    if tuple(attribute.oid for attribute in own) != rules.subject:
        findings.append("the subject's attributes are not those of the profile, in order")
    for oid, tag, value in attributes:
        if not 1 <= len(value) <= 256 or tag not in ((_PRINTABLE,) if oid == SERIAL_NUMBER else (_PRINTABLE, _UTF8)):
            findings.append("a subject attribute has the wrong string type or length")
        if oid == SERIAL_NUMBER and _DEVICE_SERIAL.fullmatch(value) is None:
            findings.append("the subject's serialNumber is no device serial number")
        if oid == COMMON_NAME and rules.authority and _GENERATION.fullmatch(value) is None:
            findings.append("the CA's CN does not end in its generation")
    return findings


def _check_extensions(rules: Rules, tbs: Tbs, issuer: IssuerFacts) -> list[str]:
    expected = _expect_extensions(rules, tbs, issuer)
    findings, seen = [], set()
    for oid, critical, value in read_extensions(tbs.extensions):
        if oid in seen:
            findings.append(f"second extension {_dotted(oid)}")
        elif oid in expected:
            if expected[oid] != (critical, value):
                findings.append(f"extension {_dotted(oid)} has the wrong value or criticality")
        elif oid == SUBJECT_ALT_NAME and rules.hardware != "no":
            findings += _check_hardware(rules, critical, value)
        else:
            findings.append(f"surplus extension {_dotted(oid)}")
        seen.add(oid)
    if rules.hardware == "must" and SUBJECT_ALT_NAME not in seen:
        findings.append("missing extension 2.5.29.17")
    findings += [f"missing extension {_dotted(oid)}" for oid in expected if oid not in seen]
    return findings


def _expect_extensions(rules: Rules, tbs: Tbs, issuer: IssuerFacts) -> dict[bytes, tuple[bool, bytes]]:
    """Every extension that must be there and whose bytes follow from what is known; all but a hardwareModuleName."""
    expected = dict(rules.fixed)
    expected[AUTHORITY_KEY_ID] = (False, b"\x30\x16\x80\x14" + issuer.ski)
    expected[SUBJECT_KEY_ID] = (False, b"\x04\x14" + _key_identifier(rules, tbs.public_key))
    if rules.site_bound:
        expected[NAME_CONSTRAINTS] = (True, _site_constraints(tbs.subject))
    if rules.policies:
        expected[POLICIES] = (True, DEVICE_TEST_POLICIES if issuer.test_root else DEVICE_POLICY)
    if issuer.crl_url and not rules.authority:
        expected[CRL_POINTS] = (False, _crl_point(issuer.crl_url, tbs.serial_number))
    return expected


def _crl_point(url: str, number: int) -> bytes:
    """One DistributionPoint with one URI (RFC 5280 section 4.2.1.13): the top 6 of the number's 159 bits name it."""
    uri = write_element(0x86, b"%b/%02x.crl" % (url.encode("ascii"), number // 2**153))
    return write_element(SEQUENCE, write_element(SEQUENCE, write_element(0xA0, write_element(0xA0, uri))))


def _site_constraints(subject: bytes) -> bytes:
    """Permitted: names that begin with the first two RDNs of the CA's own subject, O and OU."""
    rdns = read_children(subject, read_whole(subject, SEQUENCE))
    base = write_element(SEQUENCE, *(whole(subject, rdn) for rdn in rdns[:2]))
    permitted = write_element(0xA0, write_element(SEQUENCE, write_element(0xA4, base)))
    return write_element(SEQUENCE, permitted, _NO_HOSTS)


def _check_hardware(rules: Rules, critical: bool, der: bytes) -> list[str]:
    """A critical SAN of exactly one otherName, a hardwareModuleName (RFC 4108 section 5). Where it must be there, its
    hwSerialNum is the device's serial number.
    """
    findings = [] if critical else ["the subjectAltName is not critical"]
    names = read_children(der, read_whole(der, SEQUENCE))
    parts = read_children(der, names[0]) if tags(names) == [0xA0] else []
    if tags(parts) != [OID, 0xA0] or whole(der, parts[0]) != _HARDWARE_MODULE_NAME:
        return [*findings, "the subjectAltName is not one hardwareModuleName"]
    module = read_children(der, parts[1])
    fields = read_children(der, module[0]) if tags(module) == [SEQUENCE] else []
    if tags(fields) != [OID, OCTET_STRING] or not 1 <= len(content(der, fields[1])) <= 64:
        findings.append("the hardwareModuleName is not an OID and 1 to 64 octets")
    elif rules.hardware == "must" and _DEVICE_SERIAL.fullmatch(content(der, fields[1])) is None:
        findings.append("the hwSerialNum is no device serial number")
    return findings


def _dotted(oid: bytes) -> str:
    """The OIDs under 2.5.29 in the usual notation, others in hex."""
    return f"2.5.29.{oid[2]}" if oid[:2] == b"\x55\x1d" and len(oid) == 3 else oid.hex()
