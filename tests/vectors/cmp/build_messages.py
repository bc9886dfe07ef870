"""Writes messages.json: what `openssl cmp` sends, in DER, with the keys and certificates of public tests.

Keys, identifiers, nonces and times are drawn by openssl: each run gives other messages. Nobody listens where it sends
them. Run from the repository root: `python -m tests.vectors.cmp.build_messages`.
"""

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.pki.cmp.writing import make_sender

FILE = Path(__file__).with_name("messages.json")
SUBJECT = ("-subject", "/O=Acme/serialNumber=BMS-000001")
NEW = ("-newkey", "new.key")
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "ir": ("-cmd", "ir", *NEW, *SUBJECT),
    "ir implicit": ("-cmd", "ir", *NEW, *SUBJECT, "-implicit_confirm"),
    "ir extensions": ("-cmd", "ir", *NEW, *SUBJECT, "-policy_oids", "1.3.6.1.4.1.40732.1.1", "-days", "30"),
    "ir without proof": ("-cmd", "ir", *NEW, *SUBJECT, "-popo", "-1"),
    "ir raVerified": ("-cmd", "ir", *NEW, *SUBJECT, "-popo", "0"),
    "ir unprotected": ("-cmd", "ir", *NEW, *SUBJECT, "-unprotected_requests"),
    "cr": ("-cmd", "cr", *NEW, *SUBJECT),
    "kur": ("-cmd", "kur", *NEW, *SUBJECT, "-oldcert", "old.pem"),
    "p10cr": ("-cmd", "p10cr", "-csr", "new.csr"),
    "rr": ("-cmd", "rr", "-oldcert", "old.pem", "-revreason", "1"),
    "rr without reason": ("-cmd", "rr", "-oldcert", "old.pem"),
    "genm": ("-cmd", "genm", "-infotype", "caCerts"),
    "genm of nothing": ("-cmd", "genm"),
}


def run(path: Path, *arguments: str) -> None:
    """Run openssl; what it says does not matter."""
    subprocess.run(["openssl", *arguments], cwd=path, capture_output=True, check=False, timeout=60)


def make_messages(path: Path) -> dict[str, str]:
    """Each message in hex by its name."""
    sender, old = make_sender(), make_sender(name="old")
    key = sender.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (path / "station.key").write_bytes(key)
    for name, der in (("station", sender.certificate), ("old", old.certificate)):
        (path / f"{name}.pem").write_bytes(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM))
    run(path, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "new.key")
    run(path, "req", "-new", "-key", "new.key", "-subj", "/serialNumber=BMS-000001", "-out", "new.csr")
    common = ("-server", "127.0.0.1:9", "-path", "p", "-cert", "station.pem", "-key", "station.key")
    made = {}
    for name, asked in COMMANDS.items():
        kept = () if asked[1] in ("rr", "genm") else ("-certout", "given.pem")
        run(path, "cmp", *common, "-trusted", "station.pem", "-reqout", "message.der", *asked, *kept)
        made[name] = (path / "message.der").read_bytes().hex()
        (path / "message.der").unlink()
    return made


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        FILE.write_text(json.dumps(make_messages(Path(made)), indent=1) + "\n")
