import pytest
from pkcs11 import Attribute

from hsm.algorithms import ALGORITHMS
from hsm.templates import (
    PRIVATE_FLAGS,
    PROVENANCE,
    TolerantMapper,
    find_deviations,
    name_attribute,
    private_template,
    public_template,
)


@pytest.mark.req("HS-1")
def test_the_private_template_is_the_one_of_the_design() -> None:
    true = {"TOKEN", "PRIVATE", "SENSITIVE", "SIGN"}
    false = {"EXTRACTABLE", "DECRYPT", "UNWRAP", "DERIVE", "SIGN_RECOVER", "MODIFIABLE", "COPYABLE"}
    template = private_template()
    assert {flag.name for flag, value in template.items() if value is True} == true
    assert {flag.name for flag, value in template.items() if value is False} == false
    assert {flag.name for flag in PROVENANCE} == {"LOCAL", "ALWAYS_SENSITIVE", "NEVER_EXTRACTABLE"}


def test_the_public_template_names_the_curve() -> None:
    for algorithm in ALGORITHMS.values():
        assert public_template(algorithm)[Attribute.EC_PARAMS] == algorithm.parameters[0]


def test_deviations_are_named_and_a_silent_token_is_one() -> None:
    flags = {name_attribute(flag): value for flag, value in PRIVATE_FLAGS.items()}
    assert find_deviations(flags, PRIVATE_FLAGS) == ()
    assert find_deviations({**flags, "CKA_SIGN": False}, PRIVATE_FLAGS) == ("CKA_SIGN=false",)
    del flags["CKA_COPYABLE"]
    assert find_deviations(flags, PRIVATE_FLAGS) == ("CKA_COPYABLE=absent",)


def test_odd_attribute_values_are_read_without_an_error() -> None:
    mapper = TolerantMapper()
    assert mapper.unpack_attributes(Attribute.LABEL, b"\xff\xfe") == "\ufffd\ufffd"
    assert mapper.unpack_attributes(Attribute.CLASS, (0x80000001).to_bytes(8, "little")) == 0x80000001
    assert mapper.unpack_attributes(Attribute.KEY_TYPE, b"") == -1
    assert mapper.unpack_attributes(Attribute.LOCAL, b"") is False
    assert mapper.unpack_attributes(Attribute.LOCAL, b"\x02") is False
    assert mapper.unpack_attributes(Attribute.LOCAL, b"\x01") is True
