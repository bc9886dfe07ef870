import hashlib

import msgspec
import pytest

from pki.trust import cbor
from pki.trust.errors import PayloadInvalid, RoleUndefined
from pki.trust.sets import Domain, Role, RoleId, Scope, SetRef, TrustSet
from tests.pki.trust.fleets import CLASS, IMAGE, MANIFEST, OTHER_CLASS, ROOTS, SITE, genesis, group

OLD = genesis()


def test_index_and_reference() -> None:
    later = msgspec.structs.replace(OLD, generation=3, epoch=5)
    assert later.index == later.ref.index == 64 * 3 + 5
    assert OLD.ref == SetRef(0, 0, hashlib.sha256(OLD.to_payload()).digest())


def test_recovery_hash_is_over_the_encoding_of_field_9() -> None:
    value = cbor.decode(OLD.to_payload())
    assert isinstance(value, dict)
    assert OLD.recovery_hash == hashlib.sha256(cbor.encode(value[9])).digest()


def test_keys_by_kid() -> None:
    assert OLD.key_by_kid[ROOTS[0].kid] == ROOTS[0].key
    assert len(OLD.key_by_kid) == len(OLD.keys)


@pytest.mark.parametrize(
    ("scope", "class_id", "domain", "site", "covered"),
    [
        (Scope(), None, None, None, True),
        (Scope(), CLASS, 2, SITE, True),
        (Scope(classes=(CLASS,)), CLASS, 2, SITE, True),
        (Scope(classes=(CLASS,)), OTHER_CLASS, 2, SITE, False),
        (Scope(classes=(CLASS,)), None, 2, SITE, False),
        (Scope(domains=(Domain.APP,)), CLASS, 1, None, False),
        (Scope(domains=(Domain.APP,)), CLASS, None, None, False),
        (Scope(sites=(SITE,)), CLASS, 2, None, False),
        (Scope(sites=(SITE,)), CLASS, 2, SITE, True),
    ],
)
def test_scope(scope: Scope, class_id: bytes | None, domain: int | None, site: bytes | None, covered: bool) -> None:
    assert scope.covers(class_id, domain, site) is covered


def test_overlap() -> None:
    one, two = Scope(classes=(CLASS,)), Scope(classes=(OTHER_CLASS,))
    assert not one.overlaps(two)
    assert one.overlaps(Scope(domains=(Domain.APP,)))
    assert one.overlaps(Scope())
    assert not Scope(sites=(SITE,), classes=(CLASS,)).overlaps(Scope(sites=(bytes(16),)))


def test_group_is_the_one_whose_scope_covers() -> None:
    groups = (*group(1, MANIFEST, scope=Scope(classes=(CLASS,))), *group(1, IMAGE, scope=Scope(classes=(OTHER_CLASS,))))
    trust_set = genesis(roles={**OLD.roles, RoleId.MANIFEST_SIGNER: groups})
    assert trust_set.group(RoleId.MANIFEST_SIGNER, class_id=OTHER_CLASS).members == (IMAGE.kid,)
    for class_id in (None, SITE):
        with pytest.raises(RoleUndefined):
            trust_set.group(RoleId.MANIFEST_SIGNER, class_id=class_id)


def test_an_empty_policy_refuses() -> None:
    with pytest.raises(RoleUndefined):
        OLD.group(RoleId.IMAGE_GOLDEN, class_id=CLASS, domain=Domain.GOLDEN)
    assert OLD.root == Role(2, tuple(key.kid for key in ROOTS))


@pytest.mark.parametrize(
    ("label", "wrong"),
    [
        (1, 2),
        (2, b"f" * 15),
        (3, 255),
        (4, 64),
        (5, b"h" * 31),
        (6, 4),
        (7, []),
        (8, {}),
        (8, {10: [{1: 1, 2: [bytes(32)]}]}),
        (8, {1: []}),
        (8, {1: [{1: 0, 2: [bytes(32)]}]}),
        (8, {1: [{1: 1, 2: []}]}),
        (8, {1: [{1: 1, 2: [bytes(32), bytes(32)]}]}),
        (8, {1: [{1: 1, 2: [bytes(32)], 3: {}}]}),
        (8, {1: [{1: 1, 2: [bytes(32)], 3: {2: [5]}}]}),
        (9, {1: 0, 2: [bytes(32)]}),
        (9, {1: 1, 2: []}),
        (10, []),
        (11, {b"short": {2: {1: 1, 2: 1}}}),
        (11, {bytes(16): {}}),
        (12, {}),
        (12, {1: -1}),
        (13, {1: 1, 2: 3, 3: False}),
        (14, 0),
    ],
)
def test_a_field_outside_the_schema_is_refused(label: int, wrong: cbor.Value) -> None:
    value = cbor.decode(OLD.to_payload())
    assert isinstance(value, dict)
    with pytest.raises(PayloadInvalid):
        TrustSet.from_payload(cbor.encode(value | {label: wrong}))
