"""A witness's settings and key file."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from api.witness.settings import WitnessMisconfigured, load_key, load_witness, witness_vkey
from pki.log.notes import parse_vkey
from tests.pki.log.building import LOG, ORIGIN, WITNESSES, NoteKey

BASIC = 'name = "witness.example/w1"\nkey = "witness.key"\nstate = "state"\n'
KNOWN = f'[[logs]]\norigin = "{ORIGIN}"\nvkeys = ["{LOG.public.encode()}"]\n'


def load(path: Path, text: str) -> object:
    (path / "witness.toml").write_text(text)
    return load_witness(path / "witness.toml")


def test_paths_start_at_the_file(tmp_path: Path) -> None:
    (tmp_path / "w.toml").write_text(BASIC + 'tls_cert = "c.pem"\n' + KNOWN)
    settings = load_witness(tmp_path / "w.toml")
    assert (settings.key, settings.state, settings.tls_cert) == tuple(
        tmp_path / name for name in ("witness.key", "state", "c.pem")
    )
    assert settings.known() == {ORIGIN: (LOG.public,)}


def test_a_log_may_have_two_keys_while_it_changes_them(tmp_path: Path) -> None:
    second = NoteKey(2)
    text = KNOWN.replace("]\n", f', "{second.public.encode()}"]\n').replace("[[logs], ", "[[logs]]")
    (tmp_path / "w.toml").write_text(BASIC + KNOWN.replace('"]', f'", "{second.public.encode()}"]'))
    assert load_witness(tmp_path / "w.toml").known() == {ORIGIN: (LOG.public, second.public)}
    assert text


@pytest.mark.parametrize(
    "text",
    [
        "",
        BASIC + "more = 1\n",
        BASIC.replace("witness.example/w1", "a b"),
        BASIC.replace("witness.example/w1", "a+b"),
        BASIC + KNOWN + KNOWN,
        BASIC + KNOWN.replace(ORIGIN + '"', 'other"', 1),
        BASIC + KNOWN.replace(LOG.public.encode(), WITNESSES[0].public.encode()),
        BASIC + KNOWN.replace(LOG.public.encode(), "x"),
        BASIC + f'[[logs]]\norigin = "{ORIGIN}"\nvkeys = []\n',
        BASIC + "port = 70000\n",
    ],
)
def test_settings_that_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(WitnessMisconfigured):
        load(tmp_path, text)


def write_key(path: Path, key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey, mode: int = 0o400) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(mode)
    return path


def test_the_key_file_is_its_owners_alone(tmp_path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    assert load_key(write_key(tmp_path / "a", key)).private_bytes_raw() == key.private_bytes_raw()
    assert parse_vkey(witness_vkey("w", key).encode()).public_key == key.public_key().public_bytes_raw()
    for number, mode in enumerate((0o440, 0o404, 0o420)):
        with pytest.raises(WitnessMisconfigured, match="open to others"):
            load_key(write_key(tmp_path / f"mode{number}", key, mode))


def test_keys_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(WitnessMisconfigured, match="no Ed25519"):
        load_key(write_key(tmp_path / "p256", ec.generate_private_key(ec.SECP256R1())))
    (tmp_path / "text").write_text("secret")
    for name in ("text", "absent"):
        with pytest.raises(WitnessMisconfigured, match="key file"):
            load_key(tmp_path / name)
