"""Payloads: one encoding each, and no other value parses, whatever is changed in a good one."""

import copy
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pki.trust import cbor
from pki.trust.errors import CoseKeyInvalid, PayloadInvalid, TrustError
from pki.trust.payloads import MAX_PAYLOAD, Payload
from pki.trust.sets import TrustSet
from tests.pki.trust.fleets import genesis
from tests.pki.trust.messages import all_payloads

PAYLOADS = all_payloads()
Place = Callable[[Any], None]


def name(payload: Payload) -> str:
    return payload.NAME


@pytest.mark.parametrize("payload", PAYLOADS, ids=name)
def test_round_trip(payload: Payload) -> None:
    parsed = type(payload).from_payload(payload.to_payload())
    assert parsed == payload
    assert parsed.to_payload() == payload.to_payload()
    assert parsed.payload_sha256 == hashlib.sha256(payload.to_payload()).digest()


def test_typ_names_the_rule() -> None:
    assert TrustSet.typ() == "application/kedge-trust-set+cbor"


def test_a_changed_copy_has_its_own_bytes() -> None:
    first = genesis()
    before = first.to_payload(), first.payload_sha256, first.ref
    second = msgspec.structs.replace(first, epoch=1)
    assert second.to_payload() != before[0]
    assert second.ref != before[2]
    assert (first.to_payload(), first.payload_sha256, first.ref) == before


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) inside a CBOR value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield value, key
        yield from places(item)


def refused(payload: Payload, value: Any) -> bool:
    try:
        type(payload).from_payload(cbor.encode(value))
    except TrustError:
        return True
    return False


@pytest.mark.parametrize("payload", PAYLOADS, ids=name)
def test_no_integer_may_be_a_bool_or_a_string(payload: Payload) -> None:
    value = cbor.decode(payload.to_payload())
    for container, key in list(places(value)):
        before = container[key]
        for other in (True, False, "1", b"1") if type(before) is int else (1, 0) if type(before) is bool else ():
            container[key] = other
            assert refused(payload, value), f"{key}: {before!r} as {other!r}"
        container[key] = before


@pytest.mark.parametrize("payload", PAYLOADS, ids=name)
def test_unknown_keys_are_refused_in_every_record(payload: Payload) -> None:
    value: Any = cbor.decode(payload.to_payload())
    maps = [value, *(box[key] for box, key in places(value) if isinstance(box[key], dict))]
    for found in maps:
        found[999] = 0
        assert refused(payload, value)
        del found[999]


@pytest.mark.parametrize("payload", PAYLOADS, ids=name)
def test_whatever_is_left_out_it_is_refused_or_reads_as_left_out(payload: Payload) -> None:
    value: Any = cbor.decode(payload.to_payload())
    for container, key in list(places(value)):
        whole = copy.deepcopy(container)
        del container[key]
        check_one_encoding(payload, value)
        container.clear()
        _ = container.update(whole) if isinstance(container, dict) else container.extend(whole)


LEAVES = st.none() | st.booleans() | st.integers(-5, 300) | st.binary(max_size=50) | st.text(max_size=4)
OTHERS = LEAVES | st.lists(LEAVES, max_size=3) | st.dictionaries(st.integers(-3, 12), LEAVES, max_size=3)


@given(st.sampled_from(PAYLOADS), st.data(), OTHERS)
@settings(max_examples=250, deadline=None)
def test_whatever_is_replaced_it_is_refused_or_has_one_encoding(
    payload: Payload, data: st.DataObject, other: cbor.Value
) -> None:
    value: Any = cbor.decode(payload.to_payload())
    container, key = data.draw(st.sampled_from(list(places(value))))
    container[key] = other
    check_one_encoding(payload, value)


def check_one_encoding(payload: Payload, value: cbor.Value) -> None:
    encoded = cbor.encode(value)
    try:
        parsed = type(payload).from_payload(encoded)
    except (PayloadInvalid, CoseKeyInvalid):
        return
    assert cbor.encode(type(payload).shape.write(parsed)) == encoded


def test_size_is_limited() -> None:
    with pytest.raises(TrustError) as caught:
        TrustSet.from_payload(bytes(MAX_PAYLOAD + 1))
    assert caught.value.code == "cbor-too-large"


def test_the_message_says_where() -> None:
    value: Any = cbor.decode(genesis().to_payload())
    value[8][1][0][1] = True
    with pytest.raises(PayloadInvalid, match=r"trust-set\.8\.1\[0\]\.1 is not an integer from 1 to 64"):
        TrustSet.from_payload(cbor.encode(value))
