"""A new birth package of a class: after a rotation, or when the golden image or a fuse word changes.

Devices of the line are born with the newest one. It names the genesis set: who signs it now is vouched for by the
newest set, and a device walks from the first to that.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ceremonies.genesis import build_birth
from ceremonies.plans import Birth, read_plan, write_plan
from ceremonies.procedures import Action, Item
from ceremonies.room import Room
from ceremonies.trustsets import load_sets, newest_set, signing_keys
from pki.drafts import Draft
from pki.trust.packages import draft_birth_package
from pki.trust.sets import RoleId


def prepare_birth(room: Room, data: bytes) -> dict[str, Any]:
    """A package that can be drafted now."""
    birth: Birth = read_plan(data, Birth)
    draft_birth(room, birth)
    return {"content": write_plan(birth)}


def draft_birth(room: Room, birth: Birth) -> Draft:
    """The package, signed by the manifest-signers of its class in the newest set."""
    (genesis, _), *_ = load_sets(room.store)
    newest = newest_set(room.store)
    package = build_birth(room.door.require_governing().policy.fleet, genesis, birth)
    group = newest.group(RoleId.MANIFEST_SIGNER, class_id=package.class_id)
    return draft_birth_package(genesis, newest, package, signing_keys(room.store, room.door.keyring, group))


def draft_births(room: Room, shown: Mapping[str, Any], recipe: Mapping[str, Any]) -> Sequence[Item]:
    """The one document."""
    birth = msgspec.convert(shown["content"], Birth)
    return [Item(f"birth-package-{birth.class_name}", draft_birth(room, birth))]


BIRTH_ACTION = Action(prepare=prepare_birth, kinds=("birth-package",), draft=draft_births)
