"""Receipts of the demo's controllers, and the controller's own refusals."""

import random
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from rich.console import Console

from api.cli.demo.fleet import Controller, load_key
from api.cli.demo.stage import DemoFailed, Stage
from pki.errors import PkiError
from pki.signatures import spki_der
from pki.trust.receipts import verify_receipt
from tests.api.cli.demo.conftest import run
from tests.pki.trust.devices import born


def device_key(out: Path, serial: str) -> bytes:
    certificate = x509.load_pem_x509_certificate((out / f"devices/{serial}.crt.pem").read_bytes())
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return spki_der(key)


def split_name(path: Path) -> tuple[str, int]:
    """Serial and number of a receipt."""
    serial, _, number = path.stem.rpartition("-")
    return serial, int(number)


@pytest.mark.req("T35")
def test_every_receipt_verifies_under_the_key_pinned_at_issuance(demo_out: Path) -> None:
    last: dict[str, bytes] = {}
    paths = sorted(
        (demo_out / "receipts").iterdir(),
        key=lambda path: (path.stem.rsplit("-", 1)[0], split_name(path)[1]),
    )
    for path in paths:
        serial = path.stem.rsplit("-", 1)[0]
        claims = verify_receipt(device_key(demo_out, serial), path.read_bytes())
        assert claims.campaign.previous == last.get(serial)
        last[serial] = claims.payload_sha256
    assert len(last) == 20
    with pytest.raises(PkiError):
        verify_receipt(device_key(demo_out, "BMS-000002"), paths[0].read_bytes())


def test_at_the_end_every_device_is_stable_at_the_new_set(demo_out: Path) -> None:
    for number in range(1, 21):
        serial = f"BMS-{number:06}"
        count = max(split_name(path)[1] for path in (demo_out / "receipts").glob(f"{serial}-*.cose"))
        receipt = (demo_out / f"receipts/{serial}-{count}.cose").read_bytes()
        claims = verify_receipt(device_key(demo_out, serial), receipt)
        assert (claims.trust.current.index, int(claims.trust.state)) == (1, 0)
        assert claims.canary is not None and claims.canary.rejected


def test_a_device_that_accepts_what_it_must_refuse_fails_the_demo(tmp_path: Path) -> None:
    run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", tmp_path / "key.pem")
    stage = Stage(tmp_path, tmp_path, Console(quiet=True))
    controller = Controller("X", load_key(tmp_path / "key.pem"), born(), random.Random(1))
    with pytest.raises(DemoFailed, match="accepted"):
        controller.try_refused(stage, "nothing", lambda device: None)
    controller.try_refused(stage, "garbage", lambda device: device.receive_sets([b"garbage"]))
    assert [item.tried for item in stage.refused] == ["device: garbage"]


def test_another_kind_of_key_is_no_device_key(tmp_path: Path) -> None:
    run("openssl", "genpkey", "-algorithm", "ED25519", "-out", tmp_path / "key.pem")
    with pytest.raises(DemoFailed):
        load_key(tmp_path / "key.pem")
