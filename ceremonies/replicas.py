"""Certificates of a site box, made anew from what its entries say of them, and compared byte for byte.

Nothing of a parser decides what a certificate says: what is made is what it must be.
"""

from hashlib import sha256

import msgspec

from ceremonies.fleet import Fleet
from ceremonies.plans import Name
from ceremonies.revoked import write_number
from pki.log.errors import AuditFailed
from pki.log.leaves import Leaf
from pki.signatures import der_to_raw, verify_raw
from pki.x509.certificates import prepare_certificate
from pki.x509.intake import Place, name_subject
from pki.x509.issuers import Issuer
from pki.x509.pem import read_pem
from pki.x509.profiles import find_profile
from pki.x509.rules import ORGANIZATION
from pki.x509.tbs import read_name, read_tbs, read_time, split_signed
from pki.x509.terms import Terms


class BoxCertificate(msgspec.Struct, frozen=True):
    """A device certificate of the box's journal. public_key: SPKI, DER. rework: it replaces another of its serial.

    sound: nothing was found about it, so that its device may be believed by it.
    """

    serial: str
    spki: str
    public_key: bytes
    number: str
    document: str
    class_name: str
    work_order: str
    rework: bool
    seq: int
    profile: str = "idevid"
    sound: bool = True


class Facts(msgspec.Struct, frozen=True):
    """What certificates are made by: the CA as it issues in a fleet, and the fleet."""

    issuer: Issuer
    fleet: Fleet


def read_facts(leaf: Leaf) -> dict[str, str]:
    """The facts of an entry that are texts; a box may have written anything."""
    what = (leaf.op.what or {}) if leaf.op else {}
    return {name: value for name, value in what.items() if isinstance(value, str)}


def read_issued(facts: Facts, entry: tuple[int, Leaf], document: bytes) -> BoxCertificate:
    """The certificate that an entry released, made once more from the entry's facts and compared byte for byte.

    Raises AuditFailed when it says something else, ValidationError when its work order has no name; and what is wrong
    with one that does not parse, or does not bear the profile's form or the CA's signature.
    """
    seq, leaf = entry
    what, name = read_facts(leaf), str(leaf.op.kind if leaf.op else "").removeprefix("certificate.")
    tbs, _, signature = split_signed(read_pem(document, "CERTIFICATE"))
    verify_raw(facts.issuer.public_key, der_to_raw(signature, 32), tbs)
    read, profile = read_tbs(tbs), find_profile(name)
    organization = {item.oid: item.value.decode() for item in read_name(read.subject)}.get(ORGANIZATION, "")
    device_class = facts.fleet.device_class(what["class"])
    place = Place(name, organization, device_class.name, facts.issuer, device_class.hw_type)
    subject, terms = name_subject(place, profile, what["serial"]), Terms(read.serial_number, read_time(read.not_before))
    made = prepare_certificate(profile, subject, read.public_key, facts.issuer, terms)
    if made.tbs != tbs or any(what.get(name) != value for name, value in made.what.items()):
        raise AuditFailed(f"the certificate with the number {read.serial_number:x} says something else", entry=seq)
    return BoxCertificate(
        serial=what["serial"], spki=made.what["subject_spki"], public_key=read.public_key,
        number=write_number(read.serial_number), document=sha256(document).hexdigest(), class_name=device_class.name,
        work_order=msgspec.convert(what["work_order"], Name), rework="rework" in what, seq=seq,
        profile=name,
    )  # fmt: skip
