"""Every kind of entry that the keyroom words is a leaf that an auditor accepts."""

from typing import Any

import pytest

from ceremonies import entries
from ceremonies.errors import KeyroomError
from ceremonies.journal import Placed
from ceremonies.orders import KeyPlan, Order, RequestKey, StepRef
from hsm.errors import CallFailed
from pki.drafts import Draft
from pki.log.leaves import encode_leaf, parse_leaf
from tests.ceremonies.small import BY
from tests.ceremonies.test_keyring import make_key

HEX = "ab" * 32
KEY = make_key("director").__class__(
    spki=HEX, label="director", role="director", scope="", algorithm="p256", token="main", token_serial="s1",
    cka_id="00" * 16, thumbprint=HEX, state="active", uses=3,
)  # fmt: skip
INTENT = Placed(7, bytes(32), b"{}")
DRAFT = Draft("challenge", "sign a challenge", b"p", (), {}, {"campaign": "c"}, lambda _: b"")
ORDER = Order(
    draft=DRAFT, by=BY, name="n", request=RequestKey("id", "b", b"{}"), step=StepRef("cer", "plan"), chg="CHG-1"
)
ERROR = KeyroomError("no\nway")
COUNTED = ({"h": HEX, "i": 3, "officer": "alice"},)
FACTS = {"kind": "key.generate", "what": entries.plan_facts(KeyPlan("a", "oem-root", "p256", "main"))}

EVERY: dict[str, Any] = {
    "key.sign.intent": entries.sign_intent(ORDER, [(KEY, 4)], HEX, COUNTED),
    "key.sign.denied": entries.sign_denied(ORDER, HEX, ERROR),
    "key.sign.outcome": entries.sign_outcome(ORDER, INTENT, [KEY], entries.out_ok(HEX, [bytes(64)], 5)),
    "key.generate.intent": entries.key_intent("key.generate", BY, [{"id": "00", "label": "a"}], FACTS, {"cer": "c"}),
    "key.generate.denied": entries.key_denied("key.generate", BY, FACTS, ERROR),
    "key.generate.outcome": entries.key_outcome(INTENT, BY, KEY.fields, FACTS, entries.out_failed(ERROR, 5)),
    "key.generate.unknown": entries.unknown(INTENT, "key.generate", {"keys": [KEY.fields]}),
    "key.state": entries.key_state(KEY, "suspended", BY, "theft", {}),
    "quota.open": entries.event("quota.open", BY, {"work_order": "wo", "quantity": 3}),
}


@pytest.mark.req("AU-3")
@pytest.mark.parametrize("kind", sorted(EVERY))
def test_entries_are_leaves(kind: str) -> None:
    common = {
        "v": 1, "log": "kedge.example/journal", "seq": 8, "prev": HEX, "ts": "2026-11-02T09:30:00.000000Z",
        "id": "01890a5d-ac96-774b-bcce-b302099a8057", "mono": {"boot": "b", "us": 1}, "node": {"id": "k", "sw": HEX},
    }  # fmt: skip
    leaf = parse_leaf(encode_leaf({**common, **EVERY[kind]}))
    assert leaf.type == kind


def test_an_order_brings_its_context() -> None:
    intent = EVERY["key.sign.intent"]
    assert (intent["req"], intent["cer"], intent["chg"], intent["apr"]) == ("id", "cer", "CHG-1", list(COUNTED))
    assert intent["keys"][0]["kctr"] == 4
    plain = entries.sign_intent(Order(draft=DRAFT, by=BY, name="n"), [(KEY, 1)], HEX, ())
    assert not {"req", "cer", "chg", "apr"} & plain.keys()


@pytest.mark.req("KL-1")
def test_a_refused_state_has_no_effect_on_the_key_it_names() -> None:
    denied = entries.state_denied(["a"], "active", BY, ERROR)
    assert (denied["type"], denied["out"]["status"], denied["op"]["what"]["to"]) == ("key.state", "denied", "active")
    assert "keys" not in denied


def test_reasons_are_short_and_name_the_rule() -> None:
    assert entries.reason(ERROR) == "keyroom-error: no\nway"
    assert entries.reason(ValueError("x")) == "ValueError: x"
    assert len(entries.reason(ValueError("x" * 5000))) == entries.WHY_LIMIT


def test_a_fault_of_the_token_keeps_its_return_value() -> None:
    fault = CallFailed("token", rv="CKR_DEVICE_ERROR")
    assert entries.out_failed(fault, 1)["rv"] == "CKR_DEVICE_ERROR"
    assert "rv" not in entries.out_failed(ERROR, 1)
