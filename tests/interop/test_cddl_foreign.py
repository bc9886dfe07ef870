"""docs/trust.cddl judged by two foreign CDDL verifiers: it describes exactly what `pki.trust` writes."""

import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pki.trust import cbor
from pki.trust.errors import PayloadInvalid
from pki.trust.payloads import Payload
from pki.trust.sets import TrustSet
from tests.pki.trust.messages import all_payloads

ROOT = Path(__file__).parents[2]
CDDL = ROOT / "docs/trust.cddl"
BIN = ROOT / ".tools/py/bin"
PAYLOADS = all_payloads()
NAMES = [f"{place}-{payload.NAME}" for place, payload in enumerate(PAYLOADS)]

# pycddl checks against the first rule, so `start` is set to the one that is asked for.
PYCDDL = """
import pathlib, re, sys
import pycddl
schema = pathlib.Path(sys.argv[1]).read_text()
schema = re.sub(r"(?m)^start = .*$", "start = " + sys.argv[2], schema)
try:
    pycddl.Schema(schema).validate_cbor(pathlib.Path(sys.argv[3]).read_bytes())
except pycddl.ValidationError as error:
    sys.exit(f"refused: {error}")
"""


def accepts(tool: str, rule: str, file: Path) -> bool:
    if tool == "cddl-verify":
        command = [str(BIN / "cddl-verify"), "-t", rule, "--require-deterministic", str(CDDL), str(file)]
    else:
        command = [str(BIN / "python"), "-c", PYCDDL, str(CDDL), rule, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode == 0


@pytest.mark.parametrize("tool", ["cddl-verify", "pycddl"])
@pytest.mark.parametrize("payload", PAYLOADS, ids=NAMES)
def test_what_kedge_writes_is_what_the_schema_says(tool: str, payload: Payload, tmp_path: Path) -> None:
    if tool == "pycddl" and isinstance(payload, TrustSet):  # it mishandles a table inside a table (limits)
        payload = msgspec.structs.replace(payload, limits={})
    file = tmp_path / "payload.cbor"
    file.write_bytes(payload.to_payload())
    assert accepts(tool, payload.NAME, file)


@pytest.mark.parametrize("tool", ["cddl-verify", "pycddl"])
@pytest.mark.parametrize("payload", PAYLOADS[:13], ids=NAMES[:13])
def test_what_the_schema_does_not_say_is_refused_by_all(tool: str, payload: Payload, tmp_path: Path) -> None:
    value: Any = cbor.decode(payload.to_payload())
    if isinstance(payload, TrustSet):
        value[11] = {}
    value[max(value)] = "not this"
    encoded = cbor.encode(value)
    with pytest.raises(PayloadInvalid):
        type(payload).from_payload(encoded)
    file = tmp_path / "payload.cbor"
    file.write_bytes(encoded)
    assert not accepts(tool, payload.NAME, file)


def test_a_longer_encoding_is_refused(tmp_path: Path) -> None:
    payload = next(payload for payload in PAYLOADS if payload.NAME == "head-statement").to_payload()
    assert payload[:3] == b"\xa5\x01\x01"
    file = tmp_path / "payload.cbor"
    file.write_bytes(b"\xa5\x01\x18\x01" + payload[3:])
    assert not accepts("cddl-verify", "head-statement", file)


def test_the_packaged_definitions_are_those_of_the_docs() -> None:
    assert (ROOT / "pki/trust/trust.cddl").read_bytes() == CDDL.read_bytes()
