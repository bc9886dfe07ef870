"""SSHSIG: the same verdicts as ssh-keygen for every kind of key, and what the strict parser refuses."""

import base64
import subprocess
from itertools import count
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from ceremonies.approvals import NAMESPACE
from ceremonies.errors import SshSignatureInvalid, SshSignatureMalformed
from ceremonies.sshsig import parse_key_blob, parse_public_key, verify_sshsig
from tests.ceremonies.ssh_keys import PRESENT, VERIFIED, OfficerKey, armour, make_key, mpint, string

MESSAGE = b'{"type":"kedge/approval/v1"}'
ALGORITHMS = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
]
KEYGEN = [
    ["-t", "ed25519"],
    ["-t", "ecdsa", "-b", "256"],
    ["-t", "ecdsa", "-b", "384"],
    ["-t", "rsa", "-b", "3072"],
]
SOFT = make_key()


def keygen(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["ssh-keygen", *arguments], input=stdin, capture_output=True, check=False)


def foreign_verify(tmp_path: Path, key: str, signature: str, message: bytes) -> bool:
    """What `ssh-keygen -Y verify` says."""
    (tmp_path / "signers").write_text(f'ada namespaces="{NAMESPACE}" {key}\n')
    (tmp_path / "m.sig").write_text(signature)
    arguments = ["-Y", "verify", "-f", str(tmp_path / "signers"), "-I", "ada", "-n", NAMESPACE]
    return keygen(*arguments, "-s", str(tmp_path / "m.sig"), stdin=message).returncode == 0


def damage(blob: bytes, at: int) -> bytes:
    return blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]


@pytest.mark.req("MP-3")
@pytest.mark.parametrize("kind", KEYGEN, ids="-".join)
@pytest.mark.parametrize("digest", ["sha256", "sha512"])
def test_signatures_of_ssh_keygen_verify(tmp_path: Path, kind: list[str], digest: str) -> None:
    file = tmp_path / "key"
    assert keygen("-q", *kind, "-N", "", "-C", "a comment", "-f", str(file)).returncode == 0
    line = file.with_suffix(".pub").read_text().strip()
    signing = ["-Y", "sign", "-f", str(file), "-n", NAMESPACE, "-O", f"hashalg={digest}"]
    signature = keygen(*signing, stdin=MESSAGE).stdout.decode()
    found = verify_sshsig(signature, MESSAGE, NAMESPACE)
    assert found.key == parse_public_key(line)
    assert (found.user_present, found.user_verified, found.counter) == (False, False, 0)
    assert found.key.fingerprint in keygen("-l", "-f", str(file.with_suffix(".pub"))).stdout.decode()
    for message, namespace in [(MESSAGE + b" ", NAMESPACE), (MESSAGE, "git"), (MESSAGE, NAMESPACE + " ")]:
        with pytest.raises(SshSignatureInvalid):
            verify_sshsig(signature, message, namespace)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_ssh_keygen_agrees_on_every_kind_of_key(tmp_path: Path, algorithm: str) -> None:
    key = make_key(algorithm)
    signature = key.sign(MESSAGE)
    assert foreign_verify(tmp_path, key.line, signature, MESSAGE)
    found = verify_sshsig(signature, MESSAGE, NAMESPACE)
    assert found.key.line == key.line
    assert found.key.is_security_key == algorithm.startswith("sk-")
    assert not foreign_verify(tmp_path, key.line, signature, MESSAGE + b"x")
    with pytest.raises(SshSignatureInvalid):
        verify_sshsig(signature, MESSAGE + b"x", NAMESPACE)


@pytest.mark.req("MP-3")
@pytest.mark.parametrize("algorithm", ["sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"])
def test_a_security_key_must_be_touched_and_says_whether_it_asked_for_a_pin(algorithm: str) -> None:
    # Stricter than `ssh-keygen -Y verify` of OpenSSH 9.2, which takes a signature without the presence flag.
    key = make_key(algorithm)
    touched = verify_sshsig(key.sign(MESSAGE, flags=PRESENT), MESSAGE, NAMESPACE)
    assert (touched.user_present, touched.user_verified, touched.counter) == (True, False, 7)
    verified = verify_sshsig(key.sign(MESSAGE, flags=PRESENT | VERIFIED), MESSAGE, NAMESPACE)
    assert (verified.user_present, verified.user_verified) == (True, True)
    for flags in (0, VERIFIED):
        with pytest.raises(SshSignatureInvalid, match="not touched"):
            verify_sshsig(key.sign(MESSAGE, flags=flags), MESSAGE, NAMESPACE)


def test_flags_and_counter_of_a_security_key_are_covered_by_its_signature() -> None:
    key = make_key("sk-ssh-ed25519@openssh.com")
    blob = base64.b64decode("".join(key.sign(MESSAGE, flags=PRESENT).splitlines()[1:-1]))
    assert armour(blob) == key.sign(MESSAGE, flags=PRESENT)
    for at in range(len(blob) - 5, len(blob)):
        with pytest.raises(SshSignatureInvalid):
            verify_sshsig(armour(damage(blob, at)), MESSAGE, NAMESPACE)


@given(st.data())
def test_no_damaged_signature_verifies_or_crashes(data: st.DataObject) -> None:
    blob = base64.b64decode("".join(SOFT.sign(MESSAGE).splitlines()[1:-1]))
    at = data.draw(st.integers(0, len(blob) - 1))
    for wrong in (damage(blob, at), blob[:at], blob + blob[:at] + b"x", blob[:at] + b"\0" + blob[at:]):
        with pytest.raises((SshSignatureInvalid, SshSignatureMalformed)):
            verify_sshsig(armour(wrong), MESSAGE, NAMESPACE)


@given(st.binary(max_size=120))
def test_no_bytes_crash_the_parser(junk: bytes) -> None:
    with pytest.raises(SshSignatureMalformed):
        verify_sshsig(armour(b"SSHSIG\0\0\0\1" + junk), MESSAGE, NAMESPACE)
    with pytest.raises(SshSignatureMalformed):
        parse_key_blob(junk)


def _inner() -> bytes:
    return SOFT.sign_inner(b"anything")


@pytest.mark.parametrize(
    ("blob", "why"),
    [
        (SOFT.wrap(_inner(), reserved=b"note"), "reserved"),
        (SOFT.wrap(_inner(), name="sha1"), "sha1"),
        (SOFT.wrap(_inner(), name="md5"), "md5"),
        (SOFT.wrap(_inner()) + b"x", "follow"),
        (SOFT.wrap(_inner() + b"x"), "follow"),
        (SOFT.wrap(string("ssh-rsa") + string(b"x" * 64)), "no signature algorithm"),
        (SOFT.wrap(string("sk-ssh-ed25519@openssh.com") + string(b"x" * 64)), "no signature algorithm"),
        (SOFT.wrap(string(b"\xff") + string(b"x" * 64)), "not ASCII"),
        (b"SSHSIG" + b"\0\0\0\2" + SOFT.wrap(_inner())[10:], "version 1"),
        (b"sshsig" + SOFT.wrap(_inner())[6:], "version 1"),
    ],
    ids=count(),  # the same in every worker, although the keys are not
)
def test_blobs_that_openssh_would_partly_take_are_refused(blob: bytes, why: str) -> None:
    with pytest.raises(SshSignatureMalformed, match=why):
        verify_sshsig(armour(blob), MESSAGE, NAMESPACE)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("BEGIN SSH", "BEGIN PGP"),
        lambda text: "hello\n" + text,
        lambda text: text + "\nhello",
        lambda text: text.replace("\n", "\n \n", 1),
        lambda text: text.replace("U1NI", "U1N*", 1),
        lambda text: text.replace("U1NI", "ü1NI", 1),
        lambda text: text.replace("-----END SSH SIGNATURE-----\n", ""),
        lambda text: "",
        lambda text: text[:60] + "A" * 9000 + text[60:],
    ],
)
def test_armour_is_read_strictly(change: object) -> None:
    assert callable(change)
    with pytest.raises(SshSignatureMalformed):
        verify_sshsig(change(SOFT.sign(MESSAGE)), MESSAGE, NAMESPACE)


def test_armour_may_have_dos_line_ends_or_no_last_one() -> None:
    text = SOFT.sign(MESSAGE)
    for same in (text.replace("\n", "\r\n"), text.removesuffix("\n")):
        assert verify_sshsig(same, MESSAGE, NAMESPACE).key.line == SOFT.line


def _line(algorithm: str, blob: bytes) -> str:
    return f"{algorithm} {base64.b64encode(blob).decode()}"


def _point(form: int) -> bytes:
    numbers = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    return bytes([form]) + numbers.x.to_bytes(32, "big") + (numbers.y.to_bytes(32, "big") if form == 4 else b"")


_P256 = "ecdsa-sha2-nistp256"
_SK = "sk-ssh-ed25519@openssh.com"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        "ssh-ed25519  " + SOFT.line.split()[1],
        "ssh-rsa " + SOFT.line.split()[1],
        SOFT.line + "\n" + SOFT.line,
        SOFT.line + "=",
        'restrict="yes" ' + SOFT.line,
        _line("ssh-ed25519", SOFT.blob + b"\0"),
        _line("ssh-ed25519", string("ssh-ed25519") + string(b"x" * 31)),
        _line("ssh-dss", string("ssh-dss") + mpint(5) * 4),
        _line("ssh-rsa", string("ssh-rsa") + mpint(3) + mpint(1 << 3071 | 1)),
        _line("ssh-rsa", string("ssh-rsa") + mpint(65537) + mpint(1 << 2047 | 1)),
        _line("ssh-rsa", string("ssh-rsa") + string(b"\0\1\0\1") + mpint(1 << 3071 | 1)),
        _line("ssh-rsa", string("ssh-rsa") + string(b"") + mpint(1 << 3071 | 1)),
        _line(_P256, string(_P256) + string("nistp384") + string(_point(4))),
        _line(_P256, string(_P256) + string("nistp256") + string(_point(2))),
        _line(_P256, string(_P256) + string("nistp256") + string(b"\4" + b"\1" * 64)),
        _line(_SK, string(_SK) + string(b"x" * 32) + string("https://example.com")),
        _line(_SK, string(_SK) + string(b"x" * 32)),
        SOFT.line + " c" * 4000,
    ],
    ids=count(),  # the same in every worker, although the keys are not
)
def test_public_keys_that_are_refused(line: str) -> None:
    with pytest.raises(SshSignatureMalformed):
        parse_public_key(line)


def test_a_small_rsa_key_is_refused_in_a_signature_too() -> None:
    key = OfficerKey("ssh-rsa", rsa.generate_private_key(65537, 2048))
    with pytest.raises(SshSignatureMalformed, match="3072"):
        verify_sshsig(key.sign(MESSAGE), MESSAGE, NAMESPACE)


def test_keys_are_equal_by_their_encoding_whatever_the_comment() -> None:
    assert parse_public_key(SOFT.line + " ada@home") == parse_public_key(SOFT.line)
    assert parse_public_key(SOFT.line + " ada@home").line == SOFT.line
    assert parse_public_key(SOFT.line) != parse_public_key(make_key().line)
