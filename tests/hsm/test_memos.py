import pytest
from pkcs11 import Attribute, ObjectClass
from pkcs11.exceptions import PKCS11Error

from hsm import memos as module
from hsm.errors import MemoInvalid, RequestInvalid
from hsm.inventory import compare_inventory
from hsm.memos import MAX_MEMO_BYTES, MAX_MEMOS
from hsm.strongbox import Strongbox
from tests.softhsm import open_raw_session

LABEL = "a note"
DATA = {Attribute.CLASS: ObjectClass.DATA, Attribute.TOKEN: True, Attribute.LABEL: LABEL}


def test_a_memo_is_kept_and_replaced(box: Strongbox) -> None:
    assert box.read_memos("journal", LABEL) == ()
    assert box.write_memo("journal", LABEL, b"first") == 0
    assert box.write_memo("journal", LABEL, b"second") == 1
    assert box.write_memo("journal", "another", b"other") == 0
    assert box.read_memos("journal", LABEL) == (b"second",)
    assert box.read_memos("keys", LABEL) == ()


def test_only_who_is_logged_in_sees_it_and_nobody_changes_it(box: Strongbox) -> None:
    box.write_memo("journal", LABEL, b"first")
    (item,) = open_raw_session("journal").get_objects({Attribute.CLASS: ObjectClass.DATA})
    assert (item[Attribute.PRIVATE], item[Attribute.TOKEN]) == (True, True)
    with pytest.raises(PKCS11Error):
        item[Attribute.VALUE] = b"changed"
    assert box.read_memos("journal", LABEL) == (b"first",)


def test_a_replacement_that_is_cut_short_leaves_both(box: Strongbox, monkeypatch: pytest.MonkeyPatch) -> None:
    box.write_memo("journal", LABEL, b"first")
    with monkeypatch.context() as patched:
        patched.setattr(module, "_find", lambda *_: [])  # the old one is not destroyed
        box.write_memo("journal", LABEL, b"second")
    assert sorted(box.read_memos("journal", LABEL)) == [b"first", b"second"]
    assert box.write_memo("journal", LABEL, b"third") == 2
    assert box.read_memos("journal", LABEL) == (b"third",)


@pytest.mark.parametrize("value", [b"", b"x" * (MAX_MEMO_BYTES + 1)])
def test_what_is_no_memo_is_refused(box: Strongbox, value: bytes) -> None:
    open_raw_session("journal").create_object({**DATA, Attribute.VALUE: value})
    with pytest.raises(MemoInvalid, match="token journal, data object a note"):
        box.read_memos("journal", LABEL)


def test_too_many_are_refused(box: Strongbox) -> None:
    session = open_raw_session("journal")
    for _ in range(MAX_MEMOS + 1):
        session.create_object({**DATA, Attribute.VALUE: b"x"})
    with pytest.raises(MemoInvalid, match=f"{MAX_MEMOS + 1} objects"):
        box.read_memos("journal", LABEL)


@pytest.mark.parametrize(("label", "data"), [("", b"x"), ("x" * 65, b"x"), ("a\nb", b"x"), (LABEL, b"")])
def test_labels_and_data_have_limits(box: Strongbox, label: str, data: bytes) -> None:
    with pytest.raises(RequestInvalid):
        box.write_memo("journal", label, data)
    with pytest.raises(RequestInvalid):
        box.write_memo("journal", LABEL, b"x" * (MAX_MEMO_BYTES + 1))


def test_the_inventory_knows_the_memos_that_it_is_told_of(box: Strongbox) -> None:
    box.write_memo("journal", LABEL, b"first")
    known = {("journal", LABEL)}
    assert compare_inventory([], box.inventory(), known) == ()
    (foreign,) = compare_inventory([], box.inventory(), {("keys", LABEL)})
    assert (foreign.kind, foreign.reason) == ("unknown", "data is not registered")
    open_raw_session("journal").create_object({**DATA, Attribute.VALUE: b"x"})
    reasons = {item.reason for item in compare_inventory([], box.inventory(), known)}
    assert "data has CKA_MODIFIABLE=true" in reasons
