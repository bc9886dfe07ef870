import base64
import datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from api.cli.drafts import describe, payload_of, read_drafts
from api.cli.errors import StepFileInconsistent
from tests.api.cli.stepfiles import results, show_draft
from tests.pki.formats.mcuboot_images import build_image


def make_tbs() -> bytes:
    key = ec.derive_private_key(9, ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Kedge root\u202e")])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 4660, start, start + datetime.timedelta(3650))
    builder = builder.add_extension(x509.BasicConstraints(True, 1), critical=True)
    return builder.sign(key, hashes.SHA256()).tbs_certificate_bytes


def test_certificate_is_decoded_from_its_tbs() -> None:
    (draft,) = read_drafts(results(show_draft("certificate.identity-root", make_tbs())))
    value = describe(draft)
    assert value["serial number"] == "1234"
    assert value["subject"] == {"commonName": "Kedge root\u202e"}
    assert value["until"].startswith("2035-12-30")
    assert value["basicConstraints, critical"] == bytes.fromhex("30060101ff020101")


def test_image_is_decoded_from_its_header() -> None:
    (draft,) = read_drafts(results(show_draft("image.mcuboot", build_image())))
    assert describe(draft)["size"] == len(build_image())


def test_other_kinds_are_shown_as_bytes() -> None:
    (draft,) = read_drafts(results(show_draft("roster.change", b"\x00\xff")))
    assert describe(draft) == {"payload": b"\x00\xff"}


@pytest.mark.parametrize("kind", ["certificate.idevid", "trust-set", "counter-update", "image.mcuboot"])
def test_payload_that_is_not_of_its_kind_is_refused(kind: str) -> None:
    (draft,) = read_drafts(results(show_draft(kind, b"\x00")))
    with pytest.raises(StepFileInconsistent, match="is no"):
        describe(draft)


def change(**changes: Any) -> dict[str, Any]:
    return results({**show_draft("trust-set", b"payload"), **changes})


@pytest.mark.req("T9", "MP-2")
@pytest.mark.parametrize(
    "shown",
    [
        change(payload="b3RoZXI"),
        change(payload="not base64url!"),
        change(digest="00" * 32),
        change(kind="counter-update"),
        change(statement={}),
        change(statement={"kind": "trust-set"}),
        change(digest=1),
    ],
    ids=range(7),
)
def test_draft_that_contradicts_itself_is_refused(shown: dict[str, Any]) -> None:
    with pytest.raises(StepFileInconsistent):
        read_drafts(shown)


@pytest.mark.req("T17")
@pytest.mark.parametrize("kind", ["certificate.site-ca", "image.mcuboot"])
def test_other_signed_bytes_than_the_payload_are_refused(kind: str) -> None:
    with pytest.raises(StepFileInconsistent, match="other bytes"):
        read_drafts(results(show_draft(kind, b"payload", b"something else")))


def test_payload_is_base64url_without_padding() -> None:
    (draft,) = read_drafts(results(show_draft("x.y", b"\xfb\xff")))
    assert draft.payload == "-_8"
    assert payload_of(draft) == base64.b64decode("+/8=")
