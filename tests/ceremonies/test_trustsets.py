"""Trust sets by labels: what the keyring holds, what a rehearsal assumes."""

import hashlib
import json
from typing import Any

import pytest

from ceremonies.keyring import KeyUnknown
from ceremonies.orders import KeyPlan
from ceremonies.plans import PlanMalformed, SetPlan, read_plan
from ceremonies.trustsets import (
    KeyBook,
    NoTrustSet,
    build_set,
    cose_key,
    load_sets,
    newest_set,
    rehearse_keys,
    signing_keys,
)
from pki.trust.links import check_well_formed
from pki.trust.sets import Kind, RoleId
from tests.world import CLASS, FLEET, World, plan_keys, plan_set, soft_world


def read_set(plan: dict[str, Any]) -> SetPlan:
    found: SetPlan = read_plan(json.dumps(plan).encode(), SetPlan)
    return found


def rehearsed() -> KeyBook:
    return rehearse_keys([KeyPlan(**key) for key in plan_keys()])


def test_a_rehearsal_has_every_key_of_the_plan() -> None:
    book = rehearsed()
    assert [key.label for key in book.keyring] == [key["label"] for key in plan_keys()]
    assert {hashlib.sha256(book.public_key(key.label)).hexdigest() for key in book.keyring} == {
        key.spki for key in book.keyring
    }
    assert len({key.spki for key in book.keyring}) == len(plan_keys())
    assert rehearsed().public_key("oem-root-1") == book.public_key("oem-root-1")


def test_the_first_set_is_genesis() -> None:
    new = build_set(rehearsed(), FLEET, read_set(plan_set()), None, 1_700_000_000)
    check_well_formed(new)
    assert (new.kind, new.index, new.previous) == (Kind.GENESIS, 0, None)
    assert new.dates.issued_at == 1_700_000_000
    assert new.group(RoleId.IMAGE_APP, class_id=FLEET.class_id(CLASS)).threshold == 1


def test_the_next_set_follows() -> None:
    book = rehearsed()
    first = build_set(book, FLEET, read_set(plan_set()), None, 0)
    second = build_set(book, FLEET, read_set(plan_set()), first, 0)
    assert (second.kind, second.index, second.previous) == (Kind.PLANNED, 1, first.payload_sha256)
    other = plan_set()
    other["recovery"]["threshold"] = 3
    with pytest.raises(PlanMalformed, match="recovery commitment differs"):
        build_set(book, FLEET, read_set(other), first, 0)


@pytest.mark.parametrize(
    ("labels", "error"),
    [(["director"], PlanMalformed), (["nobody"], KeyUnknown), (["recovery-1"], PlanMalformed)],
)
def test_a_key_serves_its_own_role(labels: list[str], error: type[Exception]) -> None:
    plan = plan_set()
    plan["roles"]["oem-root"][0]["labels"] = labels
    with pytest.raises(error):
        build_set(rehearsed(), FLEET, read_set(plan), None, 0)


def test_a_recovery_key_is_no_other_key() -> None:
    plan = plan_set()
    plan["recovery"]["labels"] = ["oem-root-1"]
    with pytest.raises(PlanMalformed, match="no recovery key"):
        build_set(rehearsed(), FLEET, read_set(plan), None, 0)


def test_a_role_that_is_none_is_refused() -> None:
    plan = plan_set()
    plan["roles"]["emperor"] = []
    with pytest.raises(PlanMalformed, match="no role emperor"):
        build_set(rehearsed(), FLEET, read_set(plan), None, 0)


def test_published_sets(genesis_world: World) -> None:
    store, keyring = genesis_world.room.store, genesis_world.room.door.keyring
    ((only, _),) = load_sets(store)
    assert newest_set(store) == only
    assert load_sets(store, 1) == []
    keys = signing_keys(store, keyring, only.root)
    assert [key.thumbprint.hex() for key in keys] == [
        keyring.labelled(label).thumbprint for label in ("oem-root-1", "oem-root-2")
    ]
    assert len(signing_keys(store, keyring, only.root, 3)) == 3
    with pytest.raises(NoTrustSet, match="3 of 4 keys"):
        signing_keys(store, keyring, only.root, 4)
    with pytest.raises(NoTrustSet, match="not published"):
        cose_key(store, keyring.labelled("recovery-1").spki)
    with pytest.raises(NoTrustSet, match="recovery-1 is not published"):
        KeyBook(keyring, store.blob).public_key("recovery-1")


def test_before_genesis_there_is_no_set(tmp_path: Any) -> None:
    world = soft_world(tmp_path).start()
    with pytest.raises(NoTrustSet, match="no trust set"):
        newest_set(world.room.store)
    world.stop()
