"""Scenes 1 to 3 judged by openssl, imgtool and the log's own proofs."""

import json
from pathlib import Path

import pytest

from api.cli.demo.origins import DEVICES
from pki.formats.mcuboot import read_image
from pki.log.policy import parse_policy
from pki.log.proofs import verify_proof
from pki.trust.cose import parse_sign
from pki.trust.links import verify_genesis
from pki.trust.packages import BirthPackage
from tests.api.cli.demo.conftest import ROOT, run
from tests.interop.test_cddl_foreign import accepts

SERIALS = [f"BMS-{number:06}" for number in range(1, DEVICES + 1)]
IMGTOOL = ROOT / ".tools/py/bin/imgtool"


@pytest.mark.req("CA-4")
def test_openssl_verifies_every_device_and_the_site_ca(demo_out: Path) -> None:
    ca = demo_out / "ca"
    root = ("openssl", "verify", "-x509_strict", "-CAfile", ca / "identity-root.pem")
    certificates = [demo_out / f"devices/{serial}.crt.pem" for serial in SERIALS]
    assert run(*root, "-untrusted", ca / "device-ca.pem", *certificates).count(": OK") == DEVICES
    run(*root, ca / "site-ca.pem")


def test_a_chain_is_device_ca_and_identity_root(demo_out: Path) -> None:
    chain = (demo_out / f"devices/{SERIALS[0]}.chain.pem").read_bytes()
    assert chain == b"".join((demo_out / f"ca/{name}.pem").read_bytes() for name in ("device-ca", "identity-root"))


@pytest.mark.req("FS-9")
def test_every_device_has_a_proof_of_its_own_certificate(demo_out: Path, summary: dict[str, dict[str, str]]) -> None:
    policy = parse_policy((demo_out / "journal-trust").read_bytes())
    for serial in SERIALS:
        entry = (demo_out / f"proofs/{serial}.leaf.json").read_bytes()
        verify_proof((demo_out / f"proofs/{serial}.tlog-proof").read_bytes(), entry, policy)
        leaf = json.loads(entry)
        assert leaf["out"]["doc"] == summary["sha256"][f"devices/{serial}.crt.pem"]
        assert leaf["op"]["what"]["serial"] == serial


def test_imgtool_verifies_the_first_release(demo_out: Path) -> None:
    run(IMGTOOL, "verify", "-k", demo_out / "images/image-app-1.pub.pem", demo_out / "images/signed.bin")


def test_the_server_adds_class_and_vendor_and_keeps_the_firmware(demo_out: Path) -> None:
    unsigned = read_image((demo_out / "images/unsigned.bin").read_bytes())
    signed = read_image((demo_out / "images/signed.bin").read_bytes())
    size = unsigned.header_size + unsigned.image_size
    assert signed.signed[unsigned.header_size : size] == unsigned.signed[unsigned.header_size : size]
    assert (unsigned.class_id, unsigned.signatures) == (None, ())
    assert signed.class_id is not None and signed.vendor_id is not None


def test_the_birth_package_names_the_genesis_set(demo_out: Path, tmp_path: Path) -> None:
    genesis = verify_genesis((demo_out / "trust/set-0-0.cose").read_bytes())
    payload = parse_sign((demo_out / "trust/birth-package.cose").read_bytes()).payload
    assert BirthPackage.from_payload(payload).set_ref == genesis.ref
    file = tmp_path / "payload.cbor"
    file.write_bytes(payload)
    assert accepts("cddl-verify", "birth-package", file)
