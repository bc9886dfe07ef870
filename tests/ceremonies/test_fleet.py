"""Identifiers of a fleet follow from its names."""

import uuid

import msgspec
import pytest

from ceremonies.fleet import ClassUnknown, DeviceClass, Fleet, Revocation
from tests.world import CLASS, FLEET


def test_ids_are_name_based_uuids() -> None:
    vendor = uuid.uuid5(uuid.NAMESPACE_DNS, "acme.example")
    assert FLEET.fleet_id == uuid.UUID("7b0f9d1e-93a4-4c55-8a39-0f3b4a6c2d10").bytes
    assert FLEET.vendor_id == vendor.bytes
    assert FLEET.class_id(CLASS) == uuid.uuid5(vendor, CLASS).bytes


def test_a_class_belongs_to_its_vendor() -> None:
    other = Fleet(FLEET.id, "other.example", FLEET.classes)
    assert other.class_id(CLASS) != FLEET.class_id(CLASS)


@pytest.mark.parametrize("name", ["toaster", "", CLASS.upper(), CLASS + "\n"])
def test_a_class_that_the_policy_does_not_name_has_no_id(name: str) -> None:
    with pytest.raises(ClassUnknown, match="no device class"):
        FLEET.class_id(name)
    assert FLEET.device_class(CLASS) == DeviceClass(CLASS, "stm32h7-atecc608b")


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
