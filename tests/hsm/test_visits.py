from pathlib import Path

import pytest
from pkcs11 import Attribute, KeyType, ObjectClass

from hsm.algorithms import ALGORITHMS
from hsm.errors import HsmError, PinIncorrect
from hsm.module import Module
from hsm.templates import private_template, public_template
from hsm.visits import LABEL, MARK, Visit
from tests.hsm.visiting import make_task, visiting
from tests.softhsm import find_module

P256 = ALGORITHMS["p256"]
TEMPLATES = public_template(P256), private_template()


def test_ids_are_marked_numbered_and_all_different(token_dir: Path) -> None:
    with visiting(token_dir) as visit:
        ids = {visit.draw_id() for _ in range(20)}
        assert len(ids) == 20
        assert all(len(item) == 16 and item.startswith(MARK + visit.task.number) for item in ids)


def test_a_visit_leaves_nothing_and_touches_nothing_else(token_dir: Path) -> None:
    with visiting(token_dir) as visit:
        visit.session.create_object(
            {
                Attribute.CLASS: ObjectClass.DATA,
                Attribute.TOKEN: True,
                Attribute.PRIVATE: True,
                Attribute.LABEL: "somebody's",
                Attribute.VALUE: b"data",
            }
        )
        visit.session.generate_keypair(KeyType.EC, id=MARK + bytes(10), label="not ours", store=True, public_template={
            Attribute.EC_PARAMS: P256.parameters[0]
        })  # fmt: skip
        visit.generate(P256, *TEMPLATES)
        earlier = Visit(make_task(token_dir), visit.module)
        earlier.generate(P256, *TEMPLATES)
        assert visit.clean() == 2, "its own"
        assert visit.clean(whose=MARK) == 2, "those of an earlier visit"
        assert sorted(item[Attribute.LABEL] for item in visit.session.get_objects()) == [
            "not ours", "not ours", "somebody's",
        ]  # fmt: skip


def test_only_attributes_that_were_asked_for_are_given(token_dir: Path) -> None:
    with visiting(token_dir) as visit:
        with pytest.raises(HsmError, match="C_GenerateKeyPair"):
            visit.generate(P256, {}, {})  # no curve
        key_id = visit.generate(P256, {Attribute.EC_PARAMS: P256.parameters[0]}, {Attribute.SIGN: True})
        flags = visit.find(key_id).private.attributes
        assert flags["CKA_SIGN"]
        assert flags["CKA_MODIFIABLE"], "the token's own default"
        assert visit.find(key_id).private.label == LABEL
        visit.destroy(key_id)
        assert visit.objects(key_id) == []


def test_a_wrong_pin_is_tried_once(token_dir: Path) -> None:
    with visiting(token_dir):
        pass
    (token_dir / "examined.pin").write_text("wrong\n")
    module = Module(find_module())
    try:
        with pytest.raises(PinIncorrect, match="C_Login"):
            Visit(make_task(token_dir), module)
    finally:
        module.finalise()
