"""Time-stamps of checkpoints (RFC 3161): an authority's word that these bytes existed before a time.

In an export `checkpoints/<size>.tsr` is the authority's DER TimeStampResp over the file `checkpoints/<size>`.
"""

import datetime
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec
from cryptography import x509
from rfc3161_client import TimeStampResponse, VerificationError, VerifierBuilder, decode_timestamp_response

from pki.log.errors import AuditFailed, StampInvalid
from pki.log.files import Files

MAX_STAMP: Final = 1 << 16
MAX_AUTHORITIES: Final = 64

_PATH: Final = re.compile(r"(checkpoints/(0|[1-9][0-9]{0,18}))\.tsr\Z", re.ASCII)
_POLICY: Final = re.compile(r"[0-2](\.(0|[1-9][0-9]{0,17})){1,31}\Z", re.ASCII)


class Stamp(msgspec.Struct, frozen=True):
    """What a verified time-stamp says. before: genTime and accuracy, RFC 3339 UTC. policy: the authority's, an OID."""

    before: str
    policy: str
    serial: int
    authority: str


def parse_authorities(pem: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates that are trusted, from a PEM file. Raises StampInvalid."""
    try:
        found = tuple(x509.load_pem_x509_certificates(pem))
    except ValueError as error:
        raise StampInvalid(f"the authorities' certificates: {error}", hint="a PEM file with their roots") from error
    if len(found) > MAX_AUTHORITIES:
        raise StampInvalid(f"{len(found)} certificates, {MAX_AUTHORITIES} at most")
    return found


def parse_policy_id(text: str) -> x509.ObjectIdentifier:
    """An OID in dots. Raises StampInvalid."""
    if not _POLICY.match(text):
        raise StampInvalid(f"{text[:80]!r} is no OID", hint="for example 1.3.6.1.4.1.4146.2.3")
    return x509.ObjectIdentifier(text)


def verify_stamp(
    response: bytes, data: bytes, trusted: Sequence[x509.Certificate], *, nonce: int | None = None, policy: str = ""
) -> Stamp:
    """Verify a DER TimeStampResp over `data` (RFC 3161 section 2.2 and 2.4.2). Raises StampInvalid.

    1. it parses, and is granted; 2. its signer, who has one certificate there, has a chain that ends in a `trusted`
    one, at genTime, and may sign time-stamps only; 3. nonce and policy are those asked for, where one is; 4. the
    imprint (SHA-2) is that of `data`.
    Revocation is not looked at.
    """
    if not trusted:
        raise StampInvalid("nobody is trusted for time-stamps", hint="give the authorities' certificates")
    if len(response) > MAX_STAMP:
        raise StampInvalid(f"a time-stamp of {len(response)} bytes, {MAX_STAMP} at most")
    wanted = parse_policy_id(policy) if policy else None
    try:
        decoded = decode_timestamp_response(response)
        VerifierBuilder(policy_id=wanted, roots=list(trusted), nonce=nonce).build().verify_message(decoded, data)
        return _describe(decoded)
    except StampInvalid:
        raise
    except VerificationError as error:
        raise StampInvalid(_shorten(error), hint="the authority, the certificates, or the file is another") from error
    except Exception as error:  # what is no time-stamp fails in many ways inside the parsers
        raise StampInvalid(f"it is no time-stamp: {_shorten(error)}") from error


def check_stamps(files: Files, checkpoints: Collection[str]) -> Mapping[str, str]:
    """The time-stamps of an export by path, and what each says. Each stands beside its checkpoint. Raises AuditFailed.

    Without authorities in `files` they are named, and not verified.
    """
    found: dict[str, str] = {}
    for path in sorted(files.paths, key=lambda path: (len(path), path)):
        match = _PATH.match(path)
        if match is None:
            continue
        if match[1] not in checkpoints:
            raise AuditFailed(f"{path}: no checkpoint stands beside it", path=path)
        found[path] = f"{match[2]} entries: {_check_stamp(files, path, match[1])}"
    return found


def _check_stamp(files: Files, path: str, stamped: str) -> str:
    if not files.authorities:
        return "a time-stamp that was not verified"
    try:
        stamp = verify_stamp(files.read(path), files.read(stamped), files.authorities)
    except StampInvalid as error:
        raise AuditFailed(f"{path}: {error}", hint=error.hint, path=path) from error
    return f"existed before {stamp.before} ({stamp.authority}, policy {stamp.policy}, serial {stamp.serial})"


def _describe(response: TimeStampResponse) -> Stamp:
    info = response.tst_info
    (signer,) = response.signed_data.signer_infos
    certificates = map(x509.load_der_x509_certificate, {*response.signed_data.certificates})
    # The list of certificates is signed by nobody. Of two with the signer's number, OpenSSL, to which letters of
    # either case are one, may have verified with the first, and the second be there to lend it another name.
    same = [item for item in certificates if item.serial_number == signer.serial_number]
    if len(same) != 1 or same[0].issuer != signer.issuer:
        raise StampInvalid(f"{len(same)} certificates have the number of the signer's", hint="the file was altered")
    name = same[0].subject.rfc4514_string()
    time = info.gen_time.astimezone(datetime.UTC)
    # pyca's Accuracy is None where the token has none; its type information leaves that out.
    accuracy = getattr(info, "accuracy", None)
    if accuracy is not None:
        micros = 1000 * (accuracy.millis or 0) + (accuracy.micros or 0)
        time += datetime.timedelta(seconds=accuracy.seconds or 0, microseconds=micros)
    before = time.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return Stamp(before, info.policy.dotted_string, info.serial_number, name)


def _shorten(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
