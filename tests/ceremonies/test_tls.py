"""TLS between API and keyroom: the files it takes, the names it reads, and that renewed files come into use."""

import os
import socket
import ssl
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from ceremonies.tls import (
    PeerRefused,
    Renewed,
    TlsFiles,
    TlsMisconfigured,
    check_key,
    keep_alive,
    last_second,
    make_context,
    name_peer,
    read_address,
)
from tests.ceremonies.authorities import Authority, spki_of


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


def der(files: TlsFiles) -> bytes:
    return ssl.PEM_cert_to_DER_cert(files.certificate.read_text())


def test_contexts_are_strict(authority: Authority) -> None:
    for server in (True, False):
        context = make_context(authority.issue("keyroom.example"), server=server)
        assert context.minimum_version == ssl.TLSVersion.TLSv1_3
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.verify_flags & ssl.VERIFY_X509_STRICT
        assert context.check_hostname is not server
        assert len(context.get_ca_certs()) == 1


@pytest.mark.req("SD-4")
@pytest.mark.parametrize("wrong", ["mode", "link", "missing", "directory"])
def test_a_key_that_others_may_read_is_none(authority: Authority, tmp_path: Path, wrong: str) -> None:
    files = authority.issue("keyroom.example")
    check_key(files.key)
    path = files.key
    if wrong == "mode":
        path.chmod(0o640)
    elif wrong == "link":
        path = tmp_path / "link"
        path.symlink_to(files.key)
    elif wrong == "directory":
        path = tmp_path
    else:
        path.unlink()
    with pytest.raises(TlsMisconfigured):
        make_context(msgspec.structs.replace(files, key=path), server=True)


@pytest.mark.req("SD-4")
@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_authorities_that_others_may_write_are_none(authority: Authority, mode: int) -> None:
    files = authority.issue("keyroom.example")
    files.ca.chmod(mode)
    with pytest.raises(TlsMisconfigured, match="written by others"):
        make_context(files, server=True)


def test_a_key_of_another_user_is_none(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    files = authority.issue("keyroom.example")
    other = os.geteuid() + 1  # tests have one user only
    monkeypatch.setattr(os, "geteuid", lambda: other)
    with pytest.raises(TlsMisconfigured, match="belongs to another user"):
        check_key(files.key)


def test_files_that_do_not_fit_together_are_told(authority: Authority, tmp_path: Path) -> None:
    ours, theirs = authority.issue("a.example"), authority.issue("b.example")
    with pytest.raises(TlsMisconfigured, match=r"a\.example\.pem"):
        make_context(msgspec.structs.replace(ours, key=theirs.key), server=True)
    (tmp_path / "empty.pem").touch(mode=0o644)
    with pytest.raises(TlsMisconfigured):
        make_context(msgspec.structs.replace(ours, ca=tmp_path / "empty.pem"), server=False)


def test_renewed_files_come_into_use_once_they_fit(authority: Authority) -> None:
    files = authority.issue("keyroom.example")
    renewed = Renewed(files, server=True)
    first = renewed.context()
    assert renewed.context() is first
    old_key = files.key.read_bytes()
    authority.issue("keyroom.example")
    new_key = files.key.read_bytes()
    files.key.write_bytes(old_key)  # the certificate is there already, its key is not
    with capture_logs() as logged:
        assert renewed.context() is first
        files.key.write_bytes(new_key)
        os.utime(files.key, ns=(1, 1))
        assert renewed.context() is not first
    assert [entry["event"] for entry in logged] == [
        "tls files cannot be used, those of before are",
        "tls files were renewed",
    ]


def test_a_peer_is_named_by_key_or_by_name(authority: Authority) -> None:
    files = authority.issue("api-1.example")
    spki = f"spki:{spki_of(files)}"
    assert name_peer(der(files), ("dns:api-2.example", spki)) == spki
    assert name_peer(der(files), ("dns:api-1.example",)) == "dns:api-1.example"
    for stranger in ((), ("dns:api-2.example",), ("dns:example",), ("dns:API-1.example",), (f"spki:{'0' * 64}",)):
        with pytest.raises(PeerRefused, match="is not on the list"):
            name_peer(der(files), stranger)
    with pytest.raises(PeerRefused, match="does not parse"):
        name_peer(b"\x30\x00", (spki,))


def test_when_a_certificate_ends(authority: Authority) -> None:
    long, short = last_second(der(authority.issue("a.example"))), last_second(der(authority.issue("b.example", days=1)))
    assert 28 * 86400 < long - short < 30 * 86400


@pytest.mark.parametrize(
    ("text", "found"),
    [("a.example:1", ("a.example", 1)), ("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:8443", ("::1", 8443))],
)
def test_addresses(text: str, found: tuple[str, int]) -> None:
    assert read_address(text) == found


@pytest.mark.parametrize("text", ["", "a", ":1", "a:", "a:b", "a:-1", "a:65536", "::1:8443", "[a]:1", "[]:1", "a:٣"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(TlsMisconfigured):
        read_address(text)


def test_a_peer_that_is_gone_is_noticed() -> None:
    with socket.socket() as connection:
        keep_alive(connection)
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 20_000
