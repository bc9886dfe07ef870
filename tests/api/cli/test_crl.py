import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pki.x509.crls import CrlTerms, draft_crl
from pki.x509.revocation import Revoked
from tests.api.cli.running import answer, kedge, refusal
from tests.api.conftest import Served
from tests.api.peer import Peer
from tests.pki.x509.soft_keys import NUMBER, make_hierarchy
from tests.pki.x509.test_revocation import issue

HIERARCHY = make_hierarchy()


def write_list(path: Path, number: int, age_hours: int = 0) -> Path:
    """A list that revokes NUMBER, valid for a day."""
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0) - datetime.timedelta(hours=age_hours)
    entry = Revoked(NUMBER, int(now.timestamp()), "keyCompromise")
    draft = draft_crl(HIERARCHY.device_ca, [entry], CrlTerms(number, now, now + datetime.timedelta(days=1)))
    file = path / f"{number}.crl"
    file.write_bytes(HIERARCHY.device_key.finish(draft))
    return file


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    (tmp_path / "ca.pem").write_bytes(HIERARCHY.device_ca.certificate)
    return tmp_path / "ca.pem"


@pytest.mark.usefixtures("peer")
def test_lists_are_shown(served: Served) -> None:
    shown = kedge("crl", "--url", served.url, "list").stdout
    assert "crl/device-ca/3f.crl  417     2        1970-01-01T00:00:02+00:00  yes\n" in shown


@pytest.mark.req("CA-10", "T39")
def test_a_list_is_verified_without_any_service(tmp_path: Path, ca: Path) -> None:
    file = write_list(tmp_path, 9)
    assert answer("crl", "verify", file, "--issuer", ca)["entries"] == 1
    assert answer("crl", "verify", file, "--issuer", ca, "--newest", "9")["number"] == 9
    assert refusal("crl", "verify", file, "--issuer", ca, "--newest", "10") == "crl-outdated"
    late = write_list(tmp_path, 8, 30)
    assert refusal("crl", "verify", late, "--issuer", ca) == "crl-expired"
    assert answer("crl", "verify", late, "--issuer", ca, "--grace-hours", "7")["number"] == 8
    (tmp_path / "other.pem").write_bytes(HIERARCHY.site_ca.certificate)
    assert refusal("crl", "verify", file, "--issuer", tmp_path / "other.pem") == "crl-invalid"


@pytest.mark.req("CA-10")
def test_a_certificate_is_looked_up(tmp_path: Path, ca: Path, peer: Peer) -> None:
    file = write_list(tmp_path, 9)
    for name, number in (("bad", NUMBER), ("good", NUMBER + 1)):
        read = x509.load_pem_x509_certificate(issue(number))
        (tmp_path / name).write_bytes(read.public_bytes(Encoding.DER))
    assert refusal("crl", "check", file, tmp_path / "bad", "--issuer", ca) == "certificate-revoked"
    assert answer("crl", "check", file, tmp_path / "good", "--issuer", ca)["number"] == f"{NUMBER + 1:040x}"
    assert refusal("crl", "check", file, ca, "--issuer", ca) == "crl-out-of-scope"
    assert peer.asked == []
