"""Writes certificates.json: one certificate of each profile in DER, byte for byte reproducible.

Private keys are SHA-256 of a public sentence, signatures are deterministic (RFC 6979); nobody must ever use them. A
change of a profile changes this file, and shows in its diff. Run from the repository root:
`python -m tests.vectors.x509.build_certificates`.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from pki.signatures import der_to_raw
from pki.x509.lfdi import lfdi_of, sfdi_of
from tests.pki.x509.soft_keys import SoftKey, build_hierarchy
from tests.pki.x509.soft_profiles import CRL_URL, make_examples, make_service_ca
from tests.pki.x509.soft_roots import build_roots, make_next_device_ca

FILE = Path(__file__).with_name("certificates.json")
# The order of P-256 is above 2^255, so that the left 255 bits of a digest are a private key on both curves.


class VectorKey(SoftKey, frozen=True):
    """A key that signs the same bytes in the same way."""

    def sign(self, data: bytes) -> bytes:
        size = self.private.key_size // 8
        algorithm = hashes.SHA256() if size == 32 else hashes.SHA384()
        return der_to_raw(self.private.sign(data, ec.ECDSA(algorithm, deterministic_signing=True)), size)


def make_vector_key(name: str, curve: ec.EllipticCurve | None = None) -> VectorKey:
    """The key of a public sentence."""
    secret = int.from_bytes(hashlib.sha256(f"Kedge test vector, never use: {name}".encode()).digest(), "big") >> 1
    return VectorKey(ec.derive_private_key(secret, curve or ec.SECP256R1()))


def make_certificates() -> Iterator[tuple[str, bytes]]:
    """Each certificate in PEM by its name."""
    hierarchy = build_hierarchy(
        make_vector_key("root", ec.SECP384R1()), make_vector_key("device CA"), make_vector_key("site CA")
    )
    service_key, key = make_vector_key("service CA"), make_vector_key("device")
    yield "identity-root", hierarchy.root.certificate
    roots = build_roots(hierarchy, make_vector_key("root, generation 2", ec.SECP384R1()))
    yield "identity-root of generation 2", roots.new.certificate
    yield "root-link of the new root", roots.new_with_old
    yield "root-link of the old root", roots.old_with_new
    device_ca = make_next_device_ca(roots, make_vector_key("device CA, generation 2"))
    yield "device-ca of generation 2", device_ca.certificate
    yield "device-ca", hierarchy.device_ca.certificate
    yield "site-ca", hierarchy.site_ca.certificate
    yield "service-ca", make_service_ca(hierarchy, service_key)[0].certificate
    for name, example in make_examples(hierarchy, service_key).items():
        yield name, example.issue(key)
        yield f"{name}, with a CRL", example.below(crl_url=CRL_URL).issue(key)
        if example.profile.policies:
            yield f"{name}, below a test root", example.below(test_root=True).issue(key)


def build() -> str:
    """The file's text: a list of {name, der (hex)}, and LFDI and SFDI where the profile has them."""
    rows = []
    for name, pem in make_certificates():
        row = {"name": name, "der": x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER).hex()}
        if name.startswith("ieee2030-5"):
            row |= {"lfdi": lfdi_of(pem), "sfdi": sfdi_of(lfdi_of(pem))}
        rows.append(row)
    return json.dumps(rows, indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(build())
