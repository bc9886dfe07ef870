import base64
import hashlib
import json

from pki.x509.published_keys import PUBLISHED_KEYS
from tests.vectors.x509 import build_published_keys


def test_the_list_is_that_of_the_vectors() -> None:
    rows = json.loads(build_published_keys.FILE.read_text())
    assert {row["spki_sha256"]: row["source"] for row in rows} == dict(PUBLISHED_KEYS)
    for row in rows:
        assert hashlib.sha256(base64.b64decode(row["spki_der"])).hexdigest() == row["spki_sha256"]


def test_the_vectors_are_what_their_script_builds() -> None:
    assert build_published_keys.build() == build_published_keys.FILE.read_text()


def test_two_hashes_that_others_publish_as_well() -> None:
    # pwnedkeys' spkisha256 of the RFC 9500 keys.
    assert "b2b04340cfaee616ec9c2c62d261b208e54bb197498df52e8cadede23ac0ba5e" in PUBLISHED_KEYS
    assert "c4c10105a0be0ed4dd3354428dc38a9bfee64da141ce16e75c94eda272f9dd3a" in PUBLISHED_KEYS
