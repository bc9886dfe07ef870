"""Identifiers of a fleet follow from its names."""

import json
import uuid

import msgspec
import pytest

from ceremonies.errors import PolicyMalformed
from ceremonies.fleet import ClassUnknown, DeviceClass, Fleet, Makers, Revocation
from ceremonies.policy import parse_policy
from pki.jcs import jcs
from tests.ceremonies.issuer_keys import make_signer
from tests.makers import Maker
from tests.world import ARC, CLASS, FLEET, make_policy


def test_ids_are_name_based_uuids() -> None:
    vendor = uuid.uuid5(uuid.NAMESPACE_DNS, "acme.example")
    assert FLEET.fleet_id == uuid.UUID("7b0f9d1e-93a4-4c55-8a39-0f3b4a6c2d10").bytes
    assert FLEET.vendor_id == vendor.bytes
    assert FLEET.class_id(CLASS) == uuid.uuid5(vendor, CLASS).bytes


def test_a_class_belongs_to_its_vendor() -> None:
    other = Fleet(FLEET.id, "other.example", FLEET.classes, FLEET.arc)
    assert other.class_id(CLASS) != FLEET.class_id(CLASS)


@pytest.mark.parametrize("name", ["toaster", "", CLASS.upper(), CLASS + "\n"])
def test_a_class_that_the_policy_does_not_name_has_no_id(name: str) -> None:
    with pytest.raises(ClassUnknown, match="no device class"):
        FLEET.class_id(name)
    assert FLEET.device_class(CLASS) == DeviceClass(CLASS, "stm32h7-atecc608b", f"{ARC}.1")


@pytest.mark.req("CA-5")
@pytest.mark.parametrize(
    ("arc", "hw_type", "problem"),
    [
        (ARC, f"{ARC}.1", ""),
        ("2.25.340282366", "2.25.340282366.1.2", ""),
        (ARC, "", ""),
        ("", f"{ARC}.1", "not under the fleet's arc"),
        (ARC, ARC, "not under the fleet's arc"),
        (ARC, f"{ARC}1.1", "not under the fleet's arc"),
        ("1.3.6.1.4.1.40732", "1.3.6.1.4.1.40732.32473.1", "arc of IEEE 2030.5"),
        ("1.3.6.1.4.1.40732.7", "", "arc of IEEE 2030.5"),
        ("1.40.1", "", "does not parse"),
        (ARC, f"{ARC}.01", "does not parse"),
        (ARC, f"{ARC}.1\n", "does not parse"),
    ],
)
def test_hardware_types_are_under_the_manufacturers_own_arc(arc: str, hw_type: str, problem: str) -> None:
    policy = json.loads(make_policy(make_signer().jwk).document)
    policy["fleet"] |= {"arc": arc, "classes": [{"name": CLASS, "hardware": "stm32h7-atecc608b", "hw_type": hw_type}]}
    for part in (policy["fleet"], policy["fleet"]["classes"][0]):
        for name in ("arc", "hw_type"):
            if part.get(name) == "":
                del part[name]
    if not problem:
        assert parse_policy(jcs(policy)).fleet.device_class(CLASS).hw_type == hw_type
        return
    with pytest.raises(PolicyMalformed, match=problem):
        parse_policy(jcs(policy))


def test_a_fleet_without_the_newer_parts_keeps_its_bytes() -> None:
    plain = Fleet(FLEET.id, FLEET.vendor, (DeviceClass(CLASS, "stm32h7-atecc608b"),))
    assert msgspec.to_builtins(plain) == {
        "id": FLEET.id, "vendor": FLEET.vendor, "classes": ({"name": CLASS, "hardware": "stm32h7-atecc608b"},),
    }  # fmt: skip


@pytest.mark.req("CA-9")
def test_a_fleet_without_partitions_keeps_its_bytes() -> None:
    assert "revocation" not in msgspec.to_builtins(FLEET)
    partitioned = msgspec.structs.replace(FLEET, revocation=Revocation("http://pki.example:8080/kedge"))
    shown = msgspec.to_builtins(partitioned)
    assert shown["revocation"] == {"url": "http://pki.example:8080/kedge"}
    assert msgspec.convert(shown, Fleet) == partitioned
    assert partitioned.revocation is not None
    assert partitioned.revocation.prefix("device-ca") == "http://pki.example:8080/kedge/crl/device-ca"


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "https://pki.example"},
        {"url": "http://pki.example/"},
        {"url": "http://pki.example/a b"},
        {"url": "http://u@pki.example"},
        {"url": "http://pki.example", "hours": 0},
        {"url": "http://pki.example", "more": 1},
        {},
    ],
)
def test_places_of_lists_that_are_none(fields: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(fields, Revocation)


def pin(**fields: object) -> Fleet:
    """The fleet with one class that demands this, and these makers."""
    shown = msgspec.to_builtins(FLEET)
    demanded = fields.pop("key_protection", "")
    (device_class,) = shown["classes"]
    protection = {"key_protection": demanded} if demanded else {}
    return msgspec.convert({**shown, "classes": [{**device_class, **protection}], "makers": fields}, Fleet)


@pytest.mark.req("CA-2")
def test_a_class_demands_only_what_a_pinned_maker_can_vouch_for() -> None:
    root = Maker("Root").pem
    assert pin(key_protection="tpm", tpm_roots=[root]).classes[0].key_protection == "tpm"
    elements = {"manifest_signers": [root], "element_roots": [root]}
    assert pin(key_protection="secure-element", **elements).makers == Makers((root,), (root,))
    refused: tuple[dict[str, object], ...] = (
        {"key_protection": "tpm", **elements},
        {"key_protection": "secure-element", "tpm_roots": [root]},
        {"key_protection": "secure-element", "element_roots": [root]},
        {"key_protection": "tpm"},
        {"key_protection": "enclave", "tpm_roots": [root]},
        {"tpm_roots": ["no certificate"]},
        {"tpm_roots": [root], "more": []},
    )
    for fields in refused:
        with pytest.raises(msgspec.ValidationError):
            pin(**fields)


def test_a_fleet_that_demands_no_hardware_keeps_its_bytes() -> None:
    shown = msgspec.to_builtins(FLEET)
    assert "makers" not in shown
    assert all("key_protection" not in item for item in shown["classes"])


def test_what_certificates_are_made_by_has_a_digest() -> None:
    """Other classes and the life of lists change nothing of them; a URL, an OID and the arc's root do."""
    second, named = DeviceClass("other", "stm32h7", f"{ARC}.9"), {FLEET.class_id(CLASS)}
    fleet = msgspec.structs.replace(FLEET, revocation=Revocation("http://a.example"))
    alike = [
        msgspec.structs.replace(fleet, classes=(second, *FLEET.classes)),
        msgspec.structs.replace(fleet, revocation=Revocation("http://a.example", 48)),
    ]
    mine = FLEET.device_class(CLASS)
    unlike = [
        FLEET,
        msgspec.structs.replace(fleet, revocation=Revocation("http://b.example")),
        msgspec.structs.replace(fleet, test_root=not FLEET.test_root),
        msgspec.structs.replace(fleet, classes=(msgspec.structs.replace(mine, hw_type=f"{ARC}.7"),)),
    ]
    assert {item.digest(named) for item in alike} == {fleet.digest(named)}
    assert fleet.digest(named) not in {item.digest(named) for item in unlike}
    assert msgspec.json.decode(fleet.narrow(named).document, type=Fleet).classes == (mine,)
