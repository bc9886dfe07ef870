"""Device rules, part B."""

import msgspec
import pytest

from pki.errors import PkiError
from pki.trust.device import Device
from pki.trust.device_errors import (
    BankPinned,
    ChainDetached,
    CounterUnreachable,
    ImageDenied,
    SequenceStale,
    SetMissing,
    SetOutranked,
    TargetMismatch,
    WriteFailed,
)
from pki.trust.device_memory import GOLDEN, Memory, Slot
from pki.trust.device_profile import CounterModel
from pki.trust.device_receive import choose_place, slots_depending_on
from pki.trust.errors import (
    CborInvalid,
    CoseInvalid,
    FleetMismatch,
    RecoveryChanged,
    SetMalformed,
    ThresholdNotMet,
    TypeMismatch,
)
from pki.trust.sets import Domain, Kind, RecoveryCommitment, TrustSet
from pki.trust.targets import SHA256, Digest
from tests.pki.trust.devices import (
    GENESIS,
    GENESIS_MESSAGE,
    IDENTITY,
    NEW_IMAGE,
    NEXT,
    NEXT_MESSAGE,
    PROFILE,
    PowerCutError,
    born,
    cut_after,
    image,
    planned,
    refused,
    release,
)
from tests.pki.trust.fleets import (
    IMAGE,
    MANIFEST,
    RECOVERY,
    ROOTS,
    STRANGER,
    following,
    recovering,
    sign,
    soft_key,
)
from tests.pki.trust.messages import deny_list, manifest

THIRD = planned(NEXT, soft_key(133))
THIRD_MESSAGE = sign(THIRD, *ROOTS)
FRESH = recovering(GENESIS, recovery=RecoveryCommitment(1, (soft_key(118).kid,)))
FRESH_MESSAGE = sign(FRESH, *ROOTS, *RECOVERY)


def banks(device: Device) -> list[TrustSet]:
    return list(device.view.sets)


def test_b9_a_pending_set_goes_beside_the_current_one() -> None:
    device = born()
    assert device.receive_sets([NEXT_MESSAGE]) == NEXT
    assert banks(device) == [GENESIS, NEXT]
    assert (device.view.current, device.view.newest, device.view.committed) == (GENESIS, NEXT, GENESIS)


def test_b9_only_the_last_of_a_chain_is_stored() -> None:
    device = born()
    device.receive_sets([NEXT_MESSAGE, THIRD_MESSAGE])
    assert banks(device) == [GENESIS, THIRD]


def test_d5_a_chain_in_two_parts() -> None:
    device = born()
    device.receive_sets([NEXT_MESSAGE])
    device.receive_sets([THIRD_MESSAGE])
    assert banks(device) == [GENESIS, THIRD]


def test_d6_known_sets_change_nothing() -> None:
    device = born()
    device.receive_sets([NEXT_MESSAGE])
    memory = device.memory
    for chain in ([NEXT_MESSAGE], [GENESIS_MESSAGE, NEXT_MESSAGE], [GENESIS_MESSAGE], []):
        assert device.receive_sets(chain) == NEXT
        assert device.memory == memory
    assert device.receive_sets([GENESIS_MESSAGE, NEXT_MESSAGE, THIRD_MESSAGE]) == THIRD


def test_d5_a_chain_goes_on_from_the_last_stored_set_in_it() -> None:
    """Its earlier part was never stored, only walked."""
    device, fourth = born(), following(THIRD)
    device.receive_sets([NEXT_MESSAGE, THIRD_MESSAGE])
    assert device.receive_sets([NEXT_MESSAGE, THIRD_MESSAGE, sign(fourth, *ROOTS)]) == fourth
    device = born()
    device.receive_sets([NEXT_MESSAGE, THIRD_MESSAGE, sign(fourth, *ROOTS)])
    fifth = following(fourth)
    assert device.receive_sets([THIRD_MESSAGE, sign(fourth, *ROOTS), sign(fifth, *ROOTS)]) == fifth


@pytest.mark.req("RO-7")
def test_a_sleeper_walks_the_chain() -> None:
    device, old, chain = born(), GENESIS, []
    for number in range(20):
        old = planned(old, soft_key(400 + number))
        chain.append(sign(old, *ROOTS))
    assert device.receive_sets(chain) == old
    assert banks(device) == [GENESIS, old]


@pytest.mark.parametrize(
    ("chain", "kind"),
    [
        ([b""], CoseInvalid),
        ([NEXT_MESSAGE + b"\0"], CborInvalid),
        ([bytes(1 << 17)], SetMalformed),
        ([sign(manifest(), MANIFEST)], TypeMismatch),
        ([sign(following(GENESIS, fleet=b"z" * 16), *ROOTS)], FleetMismatch),
        ([THIRD_MESSAGE], ChainDetached),
        ([sign(NEXT, ROOTS[0])], ThresholdNotMet),
        ([sign(recovering(GENESIS), *ROOTS, RECOVERY[0])], ThresholdNotMet),
        ([sign(following(GENESIS, recovery=RecoveryCommitment(1, (STRANGER.kid,))), *ROOTS)], RecoveryChanged),
        ([NEXT_MESSAGE, b"garbage"], CoseInvalid),
        ([NEXT_MESSAGE, sign(THIRD, ROOTS[0])], ThresholdNotMet),
        ([NEXT_MESSAGE] * 5000, SetMalformed),
    ],
    ids=["empty", "trailing", "size", "typ", "fleet", "detached", "one root", "one recovery key", "recovery field",
         "garbage behind", "bad behind good", "too long"],
)  # fmt: skip
def test_b1_to_b8_any_failure_rejects_the_whole_chain(chain: list[bytes], kind: type[PkiError]) -> None:
    device = born()
    with pytest.raises(kind):
        device.receive_sets(chain)
    assert device.memory == born().memory
    assert [operation for operation, _ in device.log] == ["receive-sets"]


def test_d10_a_foreign_set_is_refused_even_where_an_own_one_is_passed_over() -> None:
    device = born()
    device.hardware.memory = msgspec.structs.replace(
        device.memory, banks=(NEXT_MESSAGE, b"", b""), counters=(8, 0, 0, 0, 0)
    )
    assert device.receive_sets([GENESIS_MESSAGE]) == NEXT
    foreign = sign(msgspec.structs.replace(GENESIS, fleet=b"z" * 16), *ROOTS)
    refused(device, FleetMismatch, lambda: device.receive_sets([foreign]))


def test_b3_recovery_outranks_every_set_of_its_generation() -> None:
    device = born()
    device.receive_sets([NEXT_MESSAGE])
    device.receive_sets([FRESH_MESSAGE])
    assert banks(device) == [GENESIS, NEXT, FRESH]
    refused(device, SetOutranked, lambda: device.receive_sets([THIRD_MESSAGE]))
    assert device.receive_sets([sign(following(FRESH, keys=GENESIS.keys), *ROOTS)]).index == 65
    assert [item.index for item in banks(device)] == [0, 1, 65]


def test_b9_one_bank_stays_free_for_a_recovery_generation() -> None:
    device = born()
    for chain in ([NEXT_MESSAGE], [THIRD_MESSAGE], [sign(following(THIRD), *ROOTS)]):
        device.receive_sets(chain)
        assert len(banks(device)) == 2
    twice = recovering(FRESH, kind=Kind.RECOVERY, keys=(*GENESIS.keys, soft_key(118).key))
    device.receive_sets([FRESH_MESSAGE])
    device.receive_sets([sign(twice, *ROOTS, soft_key(118))])
    assert [item.index for item in banks(device)] == [0, 64, 128]


def pinned_device() -> Device:
    """Slot 1 boots by the image key of the pending set only, and runs."""
    device = born()
    device.receive_sets([NEXT_MESSAGE])
    made = release(NEXT, NEW_IMAGE, version=(2, 4, 0, 0), sequence=2)
    device.install(made.manifest, made.image)
    assert device.boot() == 1
    device.confirm()
    return device


def test_d18_the_pin_rule() -> None:
    device = pinned_device()
    assert slots_depending_on(device.view, device.view.banks[1]) == [1]
    refused(device, BankPinned, lambda: device.receive_sets([THIRD_MESSAGE]))
    assert device.receive_sets([FRESH_MESSAGE]) == FRESH, "a recovery generation has its own bank"


def test_d18_a_set_with_the_same_key_is_pinned_too() -> None:
    """While the bank is erased the slot would have nothing, whatever is written next."""
    device = pinned_device()
    refused(device, BankPinned, lambda: device.receive_sets([sign(following(NEXT), *ROOTS)]))


def test_b9_after_the_commit_the_bank_is_free_again() -> None:
    device = pinned_device()
    made = release(NEXT, NEW_IMAGE, version=(2, 4, 0, 0), sequence=2)
    device.install(made.manifest, made.image, fallback=True)
    device.commit()
    assert device.receive_sets([THIRD_MESSAGE]) == THIRD
    assert banks(device) == [NEXT, THIRD]


def test_choose_place_names_a_bank() -> None:
    now = born().view
    assert choose_place(now, NEXT) in (1, 2)
    assert choose_place(now, FRESH) in (1, 2)


@pytest.mark.parametrize("writes", range(2))
def test_b10_a_cut_leaves_the_current_set(writes: int) -> None:
    device = born()
    device.receive_sets([NEXT_MESSAGE])
    cut_after(device, writes)
    with pytest.raises(PowerCutError):
        device.receive_sets([THIRD_MESSAGE])
    again = Device(PROFILE, IDENTITY, device.memory)
    assert again.boot() == 0
    assert again.view.newest == (NEXT if writes == 0 else GENESIS)
    assert again.receive_sets([NEXT_MESSAGE, THIRD_MESSAGE]) == THIRD


def test_b10_what_does_not_read_back_is_reported() -> None:
    device = born()

    def worn(before: Memory, _after: Memory) -> Memory:
        return before

    device.hardware.store = worn
    with pytest.raises(WriteFailed):
        device.receive_sets([NEXT_MESSAGE])


def test_the_counter_must_be_able_to_follow() -> None:
    profile = msgspec.structs.replace(
        PROFILE, counters={Domain.TRUST: CounterModel(capacity=63), Domain.APP: CounterModel(capacity=9)}
    )
    device = born(profile)
    refused(device, CounterUnreachable, lambda: device.receive_sets([FRESH_MESSAGE]))


def test_without_a_bank_the_chain_starts_at_the_own_genesis() -> None:
    device = born()
    emptied = msgspec.structs.replace(device.memory, banks=(b"", b"", b""), counters=(8, 0, 0, 0, 0))
    lost = Device(PROFILE, IDENTITY, emptied)
    assert lost.boot() == GOLDEN
    refused(lost, SetMissing, lambda: lost.receive_sets([]))
    refused(lost, SetOutranked, lambda: lost.receive_sets([GENESIS_MESSAGE]))
    other = msgspec.structs.replace(GENESIS, limits={})
    refused(lost, TargetMismatch, lambda: lost.receive_sets([sign(other, *ROOTS)]))
    assert lost.receive_sets([GENESIS_MESSAGE, NEXT_MESSAGE]) == NEXT
    assert banks(lost) == [NEXT]


def test_deny_lists_grow_and_never_brick() -> None:
    device = born()
    own = Digest(SHA256, device.view.profile.verify_image(image(IMAGE), (IMAGE.spki,)).digest)
    device.receive_denials(sign(deny_list(sequence=2), MANIFEST))
    refused(device, SequenceStale, lambda: device.receive_denials(sign(deny_list(sequence=2), MANIFEST)))
    refused(device, ThresholdNotMet, lambda: device.receive_denials(sign(deny_list(sequence=3), STRANGER)))
    refused(device, ImageDenied, lambda: device.receive_denials(sign(deny_list(sequence=3, digests=(own,)), MANIFEST)))
    assert device.memory.slots[1] == Slot()
