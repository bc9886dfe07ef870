import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.trust.device_errors import CounterUnreachable
from pki.trust.device_profile import ATECC608B, LPC55_CFPA, SOFT, TPM_NV, CounterModel, spkis

MODELS = st.builds(
    CounterModel,
    capacity=st.integers(2_000, 10_000),
    stride=st.integers(1, 16),
    base=st.integers(0, 1_000),
    reserve=st.integers(0, 100),
)


@given(MODELS, st.integers(0, 100), st.data())
def test_d16_a_skip_inside_a_stride_changes_no_value(model: CounterModel, value: int, data: st.DataObject) -> None:
    skip = data.draw(st.integers(0, model.stride - 1))
    assert model.value_of(model.base + model.stride * value + skip) == value


@given(MODELS)
def test_d12_the_reserve_stays(model: CounterModel) -> None:
    values = (model.capacity - model.base) // model.stride
    assert model.highest <= values * (100 - model.reserve) / 100
    model.check_reachable(model.highest)
    with pytest.raises(CounterUnreachable):
        model.check_reachable(model.highest + 1)


def test_a_count_below_the_base_is_no_value() -> None:
    assert CounterModel(capacity=100, base=7).value_of(3) == 0


def test_left_is_in_counts() -> None:
    assert CounterModel(capacity=100).left(40) == 60
    assert CounterModel(capacity=100).left(140) == 0


def test_each_hardware_carries_every_set_index() -> None:
    last = 64 * 254 + 63
    assert last == 16_319
    assert ATECC608B.stride == 8
    for model in (ATECC608B, LPC55_CFPA, TPM_NV, SOFT):
        model.check_reachable(last)


def test_keys_in_one_order() -> None:
    assert spkis([b"b", b"a", b"b"]) == (b"a", b"b")
