"""OpenSSL as the foreign judge of every profile for end entities: chains, purposes, names of another site."""

import re
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pki.x509.chains import verify_chain
from pki.x509.errors import ChainInvalid
from tests.interop.test_x509_openssl import openssl, verify
from tests.pki.x509.soft_keys import BEGIN, make_hierarchy, make_key
from tests.pki.x509.soft_profiles import CRL_URL, Example, make_examples
from tests.pki.x509.test_lint_leaves import forge

KEY = make_key()
PEM = Encoding.PEM
EXAMPLES = make_examples()
AT = BEGIN + timedelta(days=1)
PURPOSES = {"station-tls": "sslclient", "ldevid": "sslserver", "ocsp-responder": "ocsphelper"}
VALID = (True, "leaf.pem: OK\n")


def judge(folder: Path, leaf: bytes, example: Example, *options: str) -> tuple[bool, str]:
    """What `openssl verify` says of a leaf on the first day of its life."""
    (folder / "root.pem").write_bytes(make_hierarchy().root.certificate)
    (folder / "ca.pem").write_bytes(example.issuer.certificate)
    # The last time given counts.
    return verify(folder, leaf, "ca", "-attime", str(int(AT.timestamp())), *options)


def chains(leaf: bytes, example: Example) -> x509.Certificate:
    return verify_chain(leaf, [example.issuer.certificate], make_hierarchy().root.certificate, AT)


@pytest.mark.req("CA-4", "CA-5", "CA-8")
@pytest.mark.parametrize("name", EXAMPLES)
def test_every_profile_chains_to_the_root_for_both(tmp_path: Path, name: str) -> None:
    for url in ("", CRL_URL):
        example = EXAMPLES[name].below(crl_url=url, test_root=bool(url))
        leaf = example.issue(KEY)
        assert judge(tmp_path, leaf, example) == VALID
        purpose = PURPOSES.get(example.profile.name)
        assert purpose is None or judge(tmp_path, leaf, example, "-purpose", purpose) == VALID
        assert chains(leaf, example).serial_number == example.terms.serial_number


@pytest.mark.parametrize(
    ("name", "purpose"),
    [
        ("station-tls", "sslserver"),
        ("station-tls", "smimesign"),
        ("ocsp-responder", "sslclient"),
        ("ldevid", "smimesign"),
    ],
)
def test_a_certificate_is_for_its_purpose_only(tmp_path: Path, name: str, purpose: str) -> None:
    good, said = judge(tmp_path, EXAMPLES[name].issue(KEY), EXAMPLES[name], "-purpose", purpose)
    assert not good
    assert "purpose" in said


@pytest.mark.req("CA-8")
@pytest.mark.parametrize("name", ["ldevid", "ocsp-responder of site-ca"])
@pytest.mark.parametrize(("at", "value"), [(1, "site-b"), (0, "Other Storage")])
def test_a_key_of_site_a_and_a_name_of_site_b(tmp_path: Path, name: str, at: int, value: str) -> None:
    """All of it right, but the name: what somebody with the key of one site could sign by hand."""
    forgery = forge(EXAMPLES[name])
    chains(x509.load_der_x509_certificate(forgery.sign()).public_bytes(PEM), EXAMPLES[name])
    forgery.subject[at] = x509.NameAttribute(forgery.subject[at].oid, value)
    leaf = x509.load_der_x509_certificate(forgery.sign()).public_bytes(PEM)
    good, said = judge(tmp_path, leaf, EXAMPLES[name])
    assert not good
    assert "permitted subtree violation" in said
    with pytest.raises(ChainInvalid, match="outside what"):
        chains(leaf, EXAMPLES[name])


@pytest.mark.req("CA-8")
def test_a_site_key_and_a_certificate_without_a_name(tmp_path: Path) -> None:
    """RFC 5280 lets an empty subject through name constraints, and OpenSSL does; the own verifier does not."""
    forgery = forge(EXAMPLES["ieee2030-5-device"])
    site = EXAMPLES["ldevid"]
    forgery.example, forgery.issuer = site, forge(site).issuer
    forgery.extensions["2.5.29.35"] = forge(site).extensions["2.5.29.35"]
    leaf = x509.load_der_x509_certificate(forgery.sign()).public_bytes(PEM)
    assert judge(tmp_path, leaf, site) == VALID
    with pytest.raises(ChainInvalid, match="empty subject"):
        chains(leaf, site)


@pytest.mark.req("CA-8")
@pytest.mark.parametrize("name", EXAMPLES)
def test_no_end_entity_signs_a_certificate(tmp_path: Path, name: str) -> None:
    leaf = EXAMPLES[name].issue(KEY)
    own = x509.load_pem_x509_certificate(leaf)
    ski = own.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    forgery = forge(EXAMPLES["idevid"])
    forgery.issuer = own.subject
    forgery.extensions["2.5.29.35"] = (x509.AuthorityKeyIdentifier(ski.digest, None, None), False)
    forgery.example = msgspec.structs.replace(forgery.example, signer=KEY)
    below = x509.load_der_x509_certificate(forgery.sign()).public_bytes(PEM)
    both = msgspec.structs.replace(EXAMPLES[name].issuer, certificate=EXAMPLES[name].issuer.certificate + leaf)
    assert not judge(tmp_path, below, msgspec.structs.replace(EXAMPLES[name], issuer=both))[0]
    with pytest.raises(ChainInvalid):
        verify_chain(below, [EXAMPLES[name].issuer.certificate, leaf], make_hierarchy().root.certificate, AT)


@pytest.mark.req("CA-5")
def test_what_openssl_reads_in_a_device_of_ieee_2030_5(tmp_path: Path) -> None:
    example = EXAMPLES["ieee2030-5-device"].below(crl_url=CRL_URL, test_root=True)
    (tmp_path / "leaf.pem").write_bytes(example.issue(KEY))
    text = re.sub(r"\s+", " ", openssl("x509", "-in", "leaf.pem", "-noout", "-text", cwd=tmp_path).stdout)
    for part in (
        "Signature Algorithm: ecdsa-with-SHA256",
        "Not After : Dec 31 23:59:59 9999 GMT Subject: Subject Public Key Info",
        "NIST CURVE: P-256",
        "X509v3 Basic Constraints: critical CA:FALSE X509v3 Key Usage: critical Digital Signature, Key Agreement",
        "X509v3 Certificate Policies: critical Policy: 1.3.6.1.4.1.40732.1.1 Policy: 1.3.6.1.4.1.40732.2.1 X509v3",
        "X509v3 Subject Alternative Name: critical othername: 1.3.6.1.5.5.7.8.4:",
        f"X509v3 CRL Distribution Points: Full Name: URI:{CRL_URL}/20.crl",
    ):
        assert part in text
    structure = openssl("asn1parse", "-in", "leaf.pem", cwd=tmp_path).stdout
    assert re.search(r"UTCTIME\s+:260102030405Z\s.*GENERALIZEDTIME\s+:99991231235959Z", structure, re.DOTALL)


def test_what_openssl_reads_in_a_responder(tmp_path: Path) -> None:
    (tmp_path / "leaf.pem").write_bytes(EXAMPLES["ocsp-responder of site-ca"].issue(KEY))
    text = re.sub(r"\s+", " ", openssl("x509", "-in", "leaf.pem", "-noout", "-text", cwd=tmp_path).stdout)
    assert "X509v3 Extended Key Usage: OCSP Signing OCSP No Check: X509v3" in text


@pytest.mark.req("CA-5")
def test_no_ca_of_ours_vouches_for_a_policy(tmp_path: Path) -> None:
    """Only SERCA's own chain does: our device CA names no policy, so that a verifier that demands one refuses."""
    example = EXAMPLES["ieee2030-5-device"]
    demand = ("-policy_check", "-explicit_policy", "-policy", "1.3.6.1.4.1.40732.1.1")
    assert not judge(tmp_path, example.issue(KEY), example, *demand)[0]
    assert judge(tmp_path, example.issue(KEY), example, "-policy_check") == VALID
