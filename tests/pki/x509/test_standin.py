import copy

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pki.x509.standin import StandInKey


@pytest.mark.parametrize(("curve", "bits", "name"), [(ec.SECP256R1(), 256, "sha256"), (ec.SECP384R1(), 384, "sha384")])
def test_it_speaks_for_the_real_key_but_signs_for_nobody(curve: ec.EllipticCurve, bits: int, name: str) -> None:
    real = ec.generate_private_key(curve).public_key()
    key = StandInKey(real)
    assert (key.key_size, key.curve.name, key.hash.name) == (bits, curve.name, name)
    assert key.public_key() == real
    with pytest.raises(InvalidSignature):
        real.verify(key.sign(b"data", ec.ECDSA(hashes.SHA256())), b"data", ec.ECDSA(hashes.SHA256()))


def test_it_holds_no_private_key() -> None:
    key = StandInKey(ec.generate_private_key(ec.SECP256R1()).public_key())
    assert copy.copy(key) is key
    assert copy.deepcopy(key) is key
    with pytest.raises(TypeError, match="no private key"):
        key.private_numbers()
    with pytest.raises(TypeError, match="no private key"):
        key.exchange(ec.ECDH(), key.public_key())
    with pytest.raises(TypeError, match="no private key"):
        key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
