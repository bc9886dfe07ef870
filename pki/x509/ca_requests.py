"""The certification request (PKCS #10, RFC 2986) of a CA whose issuer is elsewhere: drafted, and read there."""

from collections.abc import Mapping

from cryptography import x509
from cryptography.x509.oid import NameOID

from pki.drafts import Draft, ToSign
from pki.signatures import raw_to_der, spki_sha256
from pki.x509.builders import stand_in
from pki.x509.der import BIT_STRING, SEQUENCE, write_element, write_oid
from pki.x509.pem import write_pem
from pki.x509.profiles import DEVICE_CA, Profile
from pki.x509.requests import CertificateRequest, check_request, parse_request, prove_possession

KIND = "certificate-request"
_ECDSA_WITH_SHA256 = write_element(SEQUENCE, write_oid("1.2.840.10045.4.3.2"))  # RFC 5758 section 3.2


def draft_request(label: str, public_key: bytes) -> Draft:
    """The request of a key on P-256 (DER SubjectPublicKeyInfo), to be signed by itself; the document is PEM.

    label: its CN, by which people know the file; the issuer chooses the name. Raises KeyRefused.
    """
    key = stand_in(public_key)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, label)])
    body = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, key.hash).tbs_certrequest_bytes
    spki = spki_sha256(public_key)

    def assemble(signatures: Mapping[str, bytes]) -> bytes:
        signature = write_element(BIT_STRING, b"\0", raw_to_der(signatures[spki]))
        document = write_pem(write_element(SEQUENCE, body, _ECDSA_WITH_SHA256, signature), "CERTIFICATE REQUEST")
        read_request(document)
        return document

    return Draft(
        kind=KIND,
        summary=f"Ask for the certificate of {label}",
        payload=body,
        to_sign=(ToSign(spki, body),),
        public_keys={spki: public_key},
        what={"label": label, "subject_spki": spki},
        assemble=assemble,
    )


def read_request(data: bytes, profile: Profile = DEVICE_CA) -> CertificateRequest:
    """The request of a CA, whose sender holds the key. Raises what parsing, possession and profile refuse."""
    request = prove_possession(parse_request(data))
    check_request(request, profile)
    return request
