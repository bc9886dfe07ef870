"""OpenSSL over two generations of CAs: with the link certificate both directions verify, without it none does."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from tests.interop.test_x509_openssl import openssl
from tests.pki.x509.soft_keys import make_key
from tests.pki.x509.soft_roots import NOW_2, issue_below, make_next_device_ca, make_roots

ROOTS, KEY, CA_KEY = make_roots(), make_key(), make_key()
NEW_CA = make_next_device_ca(ROOTS, CA_KEY)


def judge(folder: Path, leaf: bytes, root: bytes, between: Sequence[bytes]) -> tuple[bool, str]:
    """What `openssl verify` says for somebody who trusts this root alone and is given these certificates."""
    for name, data in (("leaf", leaf), ("root", root), ("between", b"".join(between))):
        (folder / f"{name}.pem").write_bytes(data)
    at = ("-attime", str(int(NOW_2.timestamp())))
    files = ("-CAfile", "root.pem", "-untrusted", "between.pem", "leaf.pem")
    done = openssl("verify", "-x509_strict", *at, *files, cwd=folder)
    return done.returncode == 0, done.stdout + done.stderr


@pytest.mark.req("RO-2", "CA-8")
def test_both_generations_verify_under_either_root(tmp_path: Path) -> None:
    first, new = ROOTS.first, ROOTS.new
    old_leaf, new_leaf = first.issue_device(KEY), issue_below(NEW_CA, CA_KEY, KEY)
    old_ca, links = first.device_ca.certificate, [ROOTS.new_with_old, ROOTS.old_with_new]
    every = [old_ca, NEW_CA.certificate, *links, first.root.certificate, new.certificate]
    for leaf in (old_leaf, new_leaf):
        for root in (first.root, new):
            assert judge(tmp_path, leaf, root.certificate, every) == (True, "leaf.pem: OK\n")
    assert judge(tmp_path, new_leaf, first.root.certificate, [NEW_CA.certificate, ROOTS.new_with_old])[0]
    assert judge(tmp_path, old_leaf, new.certificate, [old_ca, ROOTS.old_with_new])[0]


@pytest.mark.req("RO-2")
def test_without_the_link_nothing_of_the_other_generation_verifies(tmp_path: Path) -> None:
    first, new = ROOTS.first, ROOTS.new
    old_leaf, new_leaf = first.issue_device(KEY), issue_below(NEW_CA, CA_KEY, KEY)
    wrong = [first.device_ca.certificate, NEW_CA.certificate, new.certificate, first.root.certificate]
    for leaf, root, link in ((new_leaf, first.root, ROOTS.old_with_new), (old_leaf, new, ROOTS.new_with_old)):
        assert not judge(tmp_path, leaf, root.certificate, wrong)[0]
        assert not judge(tmp_path, leaf, root.certificate, [*wrong, link])[0]


@pytest.mark.req("CA-8", "KL-7")
def test_a_ca_below_a_root_cannot_vouch_for_its_next_generation(tmp_path: Path) -> None:
    """Why there are links between roots alone: its path length is 0, also for who trusts the CA itself."""
    first, new = ROOTS.first, x509.load_pem_x509_certificate(NEW_CA.certificate)
    old = x509.load_pem_x509_certificate(first.device_ca.certificate)
    builder = x509.CertificateBuilder(old.subject, new.subject, new.public_key(), new.serial_number)
    builder = builder.not_valid_before(new.not_valid_before_utc).not_valid_after(old.not_valid_after_utc)
    for extension in new.extensions:
        value = extension.value
        if isinstance(value, x509.AuthorityKeyIdentifier):
            value = x509.AuthorityKeyIdentifier(first.device_ca.ski, None, None)
        builder = builder.add_extension(value, extension.critical)
    link = builder.sign(first.device_key.private, hashes.SHA256()).public_bytes(Encoding.PEM)
    leaf = issue_below(NEW_CA, CA_KEY, KEY)
    for name, data in (("leaf", leaf), ("anchor", first.device_ca.certificate), ("link", link)):
        (tmp_path / f"{name}.pem").write_bytes(data)
    at = ("-attime", str(int(NOW_2.timestamp())))
    files = ("-partial_chain", "-trusted", "anchor.pem", "-untrusted", "link.pem", "leaf.pem")
    done = openssl("verify", *at, *files, cwd=tmp_path)
    assert "path length constraint exceeded" in done.stdout + done.stderr
