"""LFDI and SFDI as sep2tools computes them: the same, but for two mistakes of it, which are shown here.

1. `get_sfdi` leaves out zeros in front; the standard has 11 digits and the check digit (IEEE 2030.5-2018 clause 6.3).
2. `get_fingerprint` hashes a file as it is, also when it is PEM; the fingerprint is that of the DER.
"""

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pki.x509.lfdi import lfdi_of, sfdi_of
from pki.x509.pem import write_pem
from tests.pki.x509.test_lfdi import FINGERPRINT
from tests.vectors.x509 import build_certificates

PYTHON = Path(__file__).parents[2] / ".tools/py/bin/python"
SEP2TOOLS = """
import json, pathlib, sys
from sep2tools.cert_id import get_certificate_lfdi, get_fingerprint, get_lfdi, get_sfdi
asked = json.load(sys.stdin)
files = [pathlib.Path(path) for path in asked["files"]]
json.dump({
    "fingerprints": [[get_lfdi(item, group=False), get_sfdi(item, group=False)] for item in asked["fingerprints"]],
    "files": [[get_certificate_lfdi(path, group=False), get_fingerprint(path)] for path in files],
}, sys.stdout)
"""


def ask(fingerprints: list[str], files: list[Path]) -> Any:
    given = json.dumps({"fingerprints": fingerprints, "files": [str(path) for path in files]})
    done = subprocess.run(
        [PYTHON, "-c", SEP2TOOLS], input=given, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.req("CA-6")
def test_two_implementations_agree(tmp_path: Path) -> None:
    draw = random.Random(2030)
    fingerprints = [FINGERPRINT, "0" * 64, "f" * 64, *(draw.randbytes(32).hex() for _ in range(500))]
    fingerprints += [f"{draw.randrange(1 << 24):09x}" + "5" * 55 for _ in range(50)]
    files = []
    for number, row in enumerate(json.loads(build_certificates.FILE.read_text())):
        der = bytes.fromhex(row["der"])
        for name, data in ((f"{number}.der", der), (f"{number}.pem", write_pem(der, "CERTIFICATE"))):
            files.append(tmp_path / name)
            files[-1].write_bytes(data)
    answers = ask(fingerprints, files)
    short = 0
    for fingerprint, (lfdi, sfdi) in zip(fingerprints, answers["fingerprints"], strict=True):
        assert lfdi.lower() == fingerprint[:40]
        ours = sfdi_of(fingerprint[:40])
        assert sfdi.zfill(12) == ours
        short += sfdi != ours
    assert short >= 51  # its first mistake
    for path, (lfdi, fingerprint) in zip(files, answers["files"], strict=True):
        assert lfdi.lower() == lfdi_of(path.read_bytes())
        assert (fingerprint[:40].lower() == lfdi_of(path.read_bytes())) == (path.suffix == ".der")  # its second
