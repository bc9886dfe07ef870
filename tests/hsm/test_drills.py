from pathlib import Path

import pytest
from pkcs11 import Attribute

from hsm.algorithms import ALGORITHMS
from hsm.drills import draw_random, drill_ids, drill_memos, drill_sessions, drill_threads
from hsm.errors import CallFailed
from hsm.findings import Finding, Grade
from hsm.seat import Seat
from hsm.templates import private_template, public_template
from hsm.visits import Visit
from tests.hsm.visiting import visiting

P256 = ALGORITHMS["p256"]
RECIPE = P256, (public_template(P256), private_template())


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {item.check: item for item in findings}


def test_random_numbers(token_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with visiting(token_dir) as visit:
        assert draw_random(visit).grade is Grade.WELL
        monkeypatch.setattr(Seat, "draw_random", lambda seat, token, count: bytes(count))
        assert draw_random(visit).grade is Grade.FAILING


def test_sessions_share_the_login_and_say_when_they_are_lost(token_dir: Path) -> None:
    with visiting(token_dir) as visit:
        found = by_check(list(drill_sessions(visit)))
        assert {item.grade for item in found.values()} == {Grade.WELL}
        assert found["sessions"].figures == {"opened": 32}
        assert found["lost session"].figures == {"rv": "CKR_SESSION_HANDLE_INVALID"}
        assert found["second login"].said == "CKR_USER_ALREADY_LOGGED_IN"


def test_data_objects_are_kept_replaced_and_removed(token_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with visiting(token_dir) as visit:
        (found,) = drill_memos(visit)
        assert (found.grade, found.figures["count"]) == (Grade.WELL, 5)
        assert list(visit.session.get_objects()) == []
        with monkeypatch.context() as patched:
            patched.setattr("hsm.memos._find", lambda *_: [])  # nothing is destroyed, and nothing found
            (found,) = drill_memos(visit)
        assert (found.grade, found.said.split(";")[0]) == (Grade.WARNING, "0 objects after 5 writes")
        assert list(visit.session.get_objects()) == []


@pytest.mark.req("HS-2")
def test_ids_and_handles(token_dir: Path) -> None:
    with visiting(token_dir) as visit:
        found = by_check(list(drill_ids(visit, RECIPE)))
        assert found["duplicate ids"].said.startswith("allowed (4 objects have one id)")
        assert found["id of a key"].said == "cannot be changed: CKR_ACTION_PROHIBITED"
        assert found["lost object"].figures == {"rv": "CKR_OBJECT_HANDLE_INVALID"}
        assert visit.clean() == 0


def test_an_id_that_can_be_changed_is_a_warning(token_dir: Path) -> None:
    with visiting(token_dir) as visit:
        modifiable = {**private_template(), Attribute.MODIFIABLE: True}
        found = by_check(list(drill_ids(visit, (P256, (public_template(P256), modifiable)))))
        assert found["id of a key"].grade is Grade.WARNING
        assert visit.clean() == 0


@pytest.mark.req("T40")
def test_threads_sign_at_once(token_dir: Path) -> None:
    with visiting(token_dir) as visit:
        found = drill_threads(visit, RECIPE)
        assert found.grade is Grade.WELL
        assert found.figures["threads"] == 2
        assert found.figures["rate_alone"] > 0
        assert found.figures["count"] >= 2
        assert visit.clean() == 0


def test_a_thread_that_fails_means_one_thread_only(token_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with visiting(token_dir) as visit:

        def refuse(visit: Visit, key_id: bytes, seat: Seat | None = None) -> None:
            raise CallFailed("C_SignInit: CKR_SESSION_COUNT")

        monkeypatch.setattr(Visit, "open", refuse)
        found = drill_threads(visit, RECIPE)
        assert found.grade is Grade.WARNING
        assert "one thread only: C_SignInit" in found.said
