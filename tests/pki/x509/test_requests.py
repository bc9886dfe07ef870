import base64
import json
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from pki.x509.der import SEQUENCE, write_element
from pki.x509.errors import (
    KeyRefused,
    KnownTestKey,
    ProfileForbids,
    ProofOfPossessionFailed,
    RequestMalformed,
    RequestTooLarge,
    X509Error,
)
from pki.x509.profiles import DEVICE_CA, IDEVID
from pki.x509.requests import CertificateRequest, check_request, parse_request, prove_possession
from tests.pki.x509.soft_keys import make_key
from tests.vectors.x509 import build_published_keys

KEY = make_key()
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def read_request(data: bytes, limit: int = 16384) -> CertificateRequest:
    """Parsed and proven, as the intake does it."""
    return prove_possession(parse_request(data, limit=limit))


def make_request(
    *extensions: x509.ExtensionType, key: PrivateKey = KEY.private, hash: hashes.HashAlgorithm | None = None
) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "what a device calls itself")])
    builder = x509.CertificateSigningRequestBuilder(subject)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return builder.sign(key, None).public_bytes(Encoding.DER)
    algorithm = hashes.SHA384() if isinstance(hash, hashes.SHA384) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)


def to_pem(der: bytes) -> bytes:
    return x509.load_der_x509_csr(der).public_bytes(Encoding.PEM)


@pytest.mark.req("CA-1")
def test_a_request() -> None:
    der = make_request()
    request = read_request(der)
    assert (request.der, request.public_key, request.spki) == (der, KEY.public_key, KEY.spki)
    assert request.curve == "secp256r1"
    assert not list(request.requested)
    check_request(request, IDEVID)


def test_pem_gives_the_same_request() -> None:
    der = make_request()
    assert read_request(to_pem(der)).der == der
    assert read_request(to_pem(der).replace(b"\n", b"\r\n")).der == der


def test_size_comes_first() -> None:
    with pytest.raises(RequestTooLarge):
        read_request(bytes(16385))
    der = make_request()
    read_request(der, limit=len(der))
    with pytest.raises(RequestTooLarge):
        read_request(der, limit=len(der) - 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda der: b"",
        lambda der: b"\x30\x00",
        lambda der: der[:-1],
        lambda der: der + b"\0",
        lambda der: b"\n" + der,
        lambda der: to_pem(der) + b"x",
        lambda der: b"text\n" + to_pem(der),
        lambda der: to_pem(der) * 2,
        lambda der: to_pem(der).replace(b"CERTIFICATE REQUEST", b"NEW CERTIFICATE REQUEST"),
        lambda der: b"\x30\x80" + der[4:] + b"\0\0",  # indefinite length: BER
        lambda der: der.replace(b"\x02\x01\x00", b"\x02\x01\x01", 1),  # version 2
        base64.b64encode,
    ],
)
def test_malformed(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(RequestMalformed):
        read_request(change(make_request()))


@pytest.mark.req("CA-1")
def test_proof_of_possession() -> None:
    der = bytearray(make_request())
    der[-1] ^= 1
    with pytest.raises(ProofOfPossessionFailed):
        read_request(bytes(der))
    der = bytearray(make_request(key=rsa.generate_private_key(65537, 2048)))
    der[-1] ^= 1
    with pytest.raises(ProofOfPossessionFailed):
        read_request(bytes(der))
    other = make_key()
    swapped = make_request().replace(KEY.public_key, other.public_key)
    with pytest.raises(ProofOfPossessionFailed):
        read_request(swapped)


def test_a_signature_with_unused_bits() -> None:
    """cryptography takes them when they are zero, and no signature covers the octet that counts them."""
    while (der := make_request())[-1] & 1:
        continue
    start = len(der) - len(x509.load_der_x509_csr(der).signature)
    assert der[start - 1] == 0
    with pytest.raises(RequestMalformed, match="whole octets"):
        read_request(der[: start - 1] + b"\x01" + der[start:])


def test_a_signature_algorithm_that_is_not_ecdsa_with_sha2() -> None:
    # ecdsa-with-SHA1 and ecdsa-with-SHA224, named outside the signed part
    for oid in ("06072a8648ce3d0401", "06082a8648ce3d040301"):
        body = x509.load_der_x509_csr(make_request()).tbs_certrequest_bytes
        algorithm = write_element(SEQUENCE, bytes.fromhex(oid))
        der = write_element(SEQUENCE, body, algorithm, b"\x03\x09\x00" + bytes.fromhex("3006020101020101"))
        with pytest.raises(ProofOfPossessionFailed, match=r"1\.2\.840\.10045\.4"):
            read_request(der)


def test_p256_with_sha384_is_a_proof() -> None:
    check_request(read_request(make_request(hash=hashes.SHA384())), IDEVID)


@given(st.data())
def test_no_changed_octet_gets_through(data: st.DataObject) -> None:
    der = bytearray(_REQUEST)
    place = data.draw(st.integers(0, len(der) - 1))
    der[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(X509Error):
        read_request(bytes(der))


_REQUEST = make_request()


@pytest.mark.req("CA-2")
@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
        ec.generate_private_key(ec.SECP256K1()),
        rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["P-384", "P-521", "secp256k1", "RSA", "Ed25519"],
)
def test_keys_that_the_profile_does_not_take(key: PrivateKey) -> None:
    request = read_request(make_request(key=key))
    with pytest.raises(KeyRefused, match="idevid"):
        check_request(request, IDEVID)


@pytest.mark.req("CA-2")
def test_points_that_are_none() -> None:
    point = KEY.public_key[-64:]
    off_curve = point[:-1] + bytes([point[-1] ^ 1])
    for bad in (off_curve, bytes(64), b"\xff" * 64):
        with pytest.raises((RequestMalformed, KeyRefused)):
            read_request(make_request().replace(point, bad))
    identity = make_request().replace(KEY.public_key[-68:], b"\x03\x02\x00\x00" + bytes(64))
    with pytest.raises(RequestMalformed):
        read_request(identity)


@pytest.mark.req("CA-2")
def test_points_in_another_form_are_refused() -> None:
    """Compressed, and X9.62's hybrid with a 6 or 7 before both coordinates: or one key could have two names."""
    read_request(_resign("3059301306072a8648ce3d020106082a8648ce3d030107034200", b"\x04" + KEY.public_key[-64:]))
    compressed = KEY.private.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    hybrid = bytes([6 + (KEY.public_key[-1] & 1)]) + KEY.public_key[-64:]
    for start, point in (
        ("3039301306072a8648ce3d020106082a8648ce3d030107032200", compressed),
        ("3059301306072a8648ce3d020106082a8648ce3d030107034200", hybrid),
    ):
        with pytest.raises(KeyRefused, match="usual form") as caught:
            read_request(_resign(start, point))
        assert "uncompressed" in caught.value.hint


def _resign(start: str, point: bytes) -> bytes:
    """A request whose key is written as the given bytes, with a good signature."""
    body = x509.load_der_x509_csr(make_request()).tbs_certrequest_bytes
    spki = bytes.fromhex(start) + point
    inner = body[2:] if body[1] < 0x80 else body[3:]
    body = write_element(SEQUENCE, inner.replace(KEY.public_key, spki))
    signature = KEY.private.sign(body, ec.ECDSA(hashes.SHA256()))
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    return write_element(SEQUENCE, body, algorithm, write_element(0x03, b"\0", signature))


@pytest.mark.req("CA-2")
def test_known_test_keys() -> None:
    # The private half of this one is 1.
    request = read_request(make_request(key=ec.derive_private_key(1, ec.SECP256R1())))
    with pytest.raises(KnownTestKey, match="private key 1"):
        check_request(request, IDEVID)
    # RFC 6979 appendix A.2.5 prints the private key.
    known = ec.derive_private_key(0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721, ec.SECP256R1())
    with pytest.raises(KnownTestKey, match=r"RFC 6979 appendix A\.2\.5"):
        check_request(read_request(make_request(key=known)), IDEVID)


def test_every_published_key_is_refused() -> None:
    """MCUboot's public test keys among them; without their private keys a request can't be made, so by name."""
    request = read_request(make_request())
    rows = json.loads(build_published_keys.FILE.read_text())
    assert any(row["source"] == "MCUboot root-ec-p256.pem" for row in rows)
    for row in rows:
        changed = type(request)(request.der, request.public_key, row["spki_sha256"], request.curve, request.requested)
        with pytest.raises(KnownTestKey):
            check_request(changed, IDEVID)


def _usage(**asked: bool) -> x509.KeyUsage:
    names = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign"
        " crl_sign encipher_only decipher_only"
    )
    return x509.KeyUsage(**{name: asked.get(name, False) for name in names.split()})


@pytest.mark.req("CA-1")
@pytest.mark.parametrize(
    ("extension", "asked"),
    [
        (x509.BasicConstraints(ca=True, path_length=None), "CA:TRUE"),
        (x509.BasicConstraints(ca=True, path_length=0), "CA:TRUE"),
        (_usage(digital_signature=True, key_cert_sign=True), "keyUsage key_cert_sign"),
        (_usage(key_agreement=True), "keyUsage key_agreement"),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), "extendedKeyUsage 1.3.6.1.5.5.7.3.3"),
        (x509.SubjectAlternativeName([x509.DNSName("a.example")]), "extension 2.5.29.17"),
        (x509.NameConstraints([x509.DNSName("a.example")], None), "extension 2.5.29.30"),
        (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), "extension 1.2.3.4"),
    ],
)
def test_a_request_that_asks_for_more(extension: x509.ExtensionType, asked: str) -> None:
    request = read_request(make_request(extension))
    with pytest.raises(ProfileForbids, match=asked.replace(".", r"\.")):
        check_request(request, IDEVID)


def test_a_request_may_ask_for_what_it_gets() -> None:
    ski = x509.SubjectKeyIdentifier(b"x" * 20)
    request = read_request(make_request(x509.BasicConstraints(False, None), _usage(digital_signature=True), ski))
    assert len(list(request.requested)) == 3
    check_request(request, IDEVID)
    authority = read_request(make_request(x509.BasicConstraints(True, 0), _usage(key_cert_sign=True)))
    check_request(authority, DEVICE_CA)
    with pytest.raises(ProfileForbids, match="path length"):
        check_request(read_request(make_request(x509.BasicConstraints(True, None))), DEVICE_CA)


def test_key_before_wishes() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(KeyRefused):
        check_request(read_request(make_request(x509.BasicConstraints(True, None), key=key)), IDEVID)


def test_extensions_that_do_not_parse() -> None:
    basic = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.19"), b"\x30\x03\x01\x01\x01")
    with pytest.raises(RequestMalformed):
        read_request(make_request(basic))


@pytest.mark.req("HS-9")
@pytest.mark.parametrize(
    ("oid", "value"),
    [
        ("1.3.6.1.5.5.7.1.24", "3003020163"),  # TLSFeature 99
        ("1.3.6.1.5.5.7.1.24", "300b020900ffffffffffffffff"),
        ("1.3.6.1.5.5.7.1.24", "3000"),
        ("2.5.29.17", "3011a40f300d310b3009060355040303020041"),  # a common name that is a BIT STRING
    ],
)
def test_extensions_that_the_library_stumbles_over(oid: str, value: str) -> None:
    """Whatever it raises, the request alone is refused: its reader has those of others, too."""
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), bytes.fromhex(value))
    with pytest.raises(X509Error):
        check_request(read_request(make_request(extension)), IDEVID)
