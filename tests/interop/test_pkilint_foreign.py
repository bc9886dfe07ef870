"""pkilint reads one certificate of every profile, and each beside its issuer. What it finds is listed with a reason."""

import json
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.pki.x509.soft_keys import make_key
from tests.pki.x509.soft_profiles import make_examples
from tests.pki.x509.test_lint_leaves import forge
from tests.vectors.x509 import build_certificates

PYTHON = Path(__file__).parents[2] / ".tools/py/bin/python"
# Runs pkilint's own programs, without a new process for each certificate: {program, arguments} -> its JSON.
LINTS = """
import contextlib, importlib, io, json, sys
answers = []
for program, paths in json.load(sys.stdin):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        importlib.import_module("pkilint.bin." + program).main(["lint", "-s", "INFO", "-f", "JSON", *paths])
    found = json.loads(out.getvalue())["results"]
    answers.append(sorted({item["code"] for result in found for item in result["finding_descriptions"]}))
json.dump(answers, sys.stdout)
"""
ISSUERS = {
    "identity-root": "identity-root", "identity-root of generation 2": "identity-root of generation 2",
    "root-link of the new root": "identity-root", "root-link of the old root": "identity-root of generation 2",
    "device-ca of generation 2": "identity-root of generation 2",
    "device-ca": "identity-root", "site-ca": "identity-root",
    "service-ca": "identity-root", "idevid": "device-ca", "ieee2030-5-device": "device-ca", "ldevid": "site-ca",
    "station-tls": "service-ca", "ocsp-responder": "device-ca", "ocsp-responder of site-ca": "site-ca",
    "ocsp-responder of service-ca": "service-ca", "cmp-responder": "device-ca",
}  # fmt: skip
# It says how the key identifier was made (RFC 7093 section 2 method 1), which is what we want.
ALONE = ["pkix.subject_key_identifier_rfc7093_method_1_identified"]


def lint(*asked: tuple[str, list[Path]]) -> list[list[str]]:
    """The codes of what each program finds."""
    given = json.dumps([(program, [str(path) for path in paths]) for program, paths in asked])
    done = subprocess.run([PYTHON, "-c", LINTS], input=given, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    answers: list[list[str]] = json.loads(done.stdout)
    return answers


@cache
def golden() -> Mapping[str, bytes]:
    """The golden certificates in DER."""
    return {row["name"]: bytes.fromhex(row["der"]) for row in json.loads(build_certificates.FILE.read_text())}


@pytest.mark.req("CA-4", "CA-5", "CA-12")
def test_every_profile(tmp_path: Path) -> None:
    files = {name: tmp_path / f"{number}.der" for number, name in enumerate(golden())}
    for name, path in files.items():
        path.write_bytes(golden()[name])
    alone = lint(*(("lint_pkix_cert", [path]) for path in files.values()))
    assert dict(zip(files, alone, strict=True)) == dict.fromkeys(files, ALONE)
    pairs = {name: [files[ISSUERS[name.split(",")[0]]], path] for name, path in files.items()}
    beside = lint(*(("lint_pkix_signer_signee_cert_chain", paths) for paths in pairs.values()))
    assert dict(zip(files, beside, strict=True)) == {name: [] for name in files}


def test_pkilint_sees_what_is_wrong(tmp_path: Path) -> None:
    """An empty subject beside a subjectAltName that is not critical (RFC 5280 section 4.2.1.6)."""
    forgery = forge(make_examples()["ieee2030-5-device"])
    forgery.extensions["2.5.29.17"] = (forgery.extensions["2.5.29.17"][0], False)
    path = tmp_path / "wrong.der"
    path.write_bytes(forgery.sign())
    [found] = lint(("lint_pkix_cert", [path]))
    assert set(found) - set(ALONE)
    right = make_examples()["ieee2030-5-device"].issue(make_key())
    path.write_bytes(x509.load_pem_x509_certificate(right).public_bytes(Encoding.DER))
    assert lint(("lint_pkix_cert", [path])) == [ALONE]
