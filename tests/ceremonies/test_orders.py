"""Values between the flows and the door."""

import msgspec
import pytest

from ceremonies.orders import Actor, KeyPlan
from pki.log.leaves import Actor as LeafActor


def test_an_actor_leaves_out_what_is_empty() -> None:
    actor = Actor(cred="", role="station", src="192.0.2.7", sub="")
    assert actor.fields == {"role": "station", "src": "192.0.2.7"}
    assert set(Actor.__struct_fields__) == set(LeafActor.__struct_fields__)


def test_a_key_plan_goes_through_json_and_refuses_what_it_does_not_know() -> None:
    plan = KeyPlan("a", "oem-root", "p256", "main", "scope")
    assert msgspec.convert(plan.fields, KeyPlan) == plan
    assert msgspec.convert({**plan.fields, "scope": ""}, KeyPlan).scope == ""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**plan.fields, "pin": "1234"}, KeyPlan)
