import os
import secrets
import shutil
import subprocess
import sys
import threading
import traceback
from pathlib import Path

import msgspec
import pytest
from cryptography.exceptions import InvalidSignature

from hsm.algorithms import ALGORITHMS, load_public_key, verify
from hsm.errors import (
    ForeignKey,
    HsmError,
    KeyAmbiguous,
    KeyNotFound,
    PinFileUnsafe,
    PinIncorrect,
    PublicKeyDiffers,
    RequestInvalid,
    SignatureMismatch,
    StrongboxClosed,
    TokenNotFound,
    WrongProcess,
    WrongThread,
)
from hsm.inventory import compare_inventory
from hsm.keys import GeneratedKey
from hsm.objects import find_objects
from hsm.strongbox import Strongbox
from hsm.tokens import TokenSettings
from tests.hsm.intruders import generate_pair, import_key, swap_private_key
from tests.softhsm import find_module, fresh_strongbox, make_token, open_raw_session, write_pin

ROOT = Path(__file__).parents[2]


def make_key(box: Strongbox, token: str = "keys", algorithm: str = "p256") -> GeneratedKey:
    return box.generate(token, secrets.token_bytes(16), "k", algorithm)


def check(key: GeneratedKey, signature: bytes, data: bytes) -> None:
    verify(ALGORITHMS[key.algorithm], load_public_key(key.public_key), signature, data)


@pytest.mark.req("HS-3")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_signatures_verify(box: Strongbox, algorithm: str) -> None:
    key = make_key(box, algorithm=algorithm)
    for data in (b"", b"x", bytes(100_000)):
        check(key, box.sign(key.name, data), data)


def test_the_journal_key_lives_on_its_own_token(box: Strongbox) -> None:
    journal, other = make_key(box, "journal", "ed25519"), make_key(box)
    assert journal.token_serial != other.token_serial
    for key, data in ((journal, b"1"), (other, b"2"), (journal, b"3")):
        check(key, box.sign(key.name, data), data)
    with pytest.raises(KeyNotFound):
        box.sign(msgspec.structs.replace(journal.name, token="keys"), b"2")


@pytest.mark.req("HS-1")
def test_an_imported_key_is_refused(box: Strongbox) -> None:
    imported = import_key(open_raw_session("keys"), secrets.token_bytes(16), "k")
    for _ in range(2):
        with pytest.raises(ForeignKey, match=f"token keys, key k/{imported.id.hex()}: CKA_LOCAL=false"):
            box.sign(imported, b"data")


@pytest.mark.req("HS-2")
def test_a_second_object_with_the_label_is_ignored_and_one_with_the_id_refused(box: Strongbox) -> None:
    key, session = make_key(box), open_raw_session("keys")
    generate_pair(session, secrets.token_bytes(16), "k")
    check(key, box.sign(key.name, b"data"), b"data")
    box._find_seat().forget("keys")
    generate_pair(session, key.name.id, "k")
    with pytest.raises(KeyAmbiguous):
        box.sign(key.name, b"data")


@pytest.mark.req("HS-2", "HS-3")
@pytest.mark.parametrize("cached", [False, True])
def test_a_swapped_private_key_signs_nothing(box: Strongbox, cached: bool) -> None:
    key = make_key(box)
    if cached:
        box.sign(key.name, b"data")
    swap_private_key(open_raw_session("keys"), key.name)
    with pytest.raises(SignatureMismatch, match="C_Sign"):
        box.sign(key.name, b"data")
    with pytest.raises(SignatureMismatch, match="stopped earlier"):
        box.sign(key.name, b"data")


@pytest.mark.req("HS-2")
@pytest.mark.parametrize("cached", [False, True])
def test_another_registered_public_key_is_refused(box: Strongbox, cached: bool) -> None:
    key = make_key(box)
    if cached:
        box.sign(key.name, b"data")
    with pytest.raises(PublicKeyDiffers, match=key.name.spki[:16]):
        box.sign(msgspec.structs.replace(key.name, spki="0" * 64), b"data")
    check(key, box.sign(key.name, b"data"), b"data")


def test_a_destroyed_key_is_gone(box: Strongbox) -> None:
    key, other = make_key(box), make_key(box)
    box.sign(key.name, b"data")
    assert box.exists("keys", key.name.id)
    assert box.destroy("keys", key.name.id)
    assert not box.exists("keys", key.name.id)
    assert not box.destroy("keys", key.name.id)
    with pytest.raises(KeyNotFound):
        box.sign(key.name, b"data")
    assert box.sign(other.name, b"data")


@pytest.mark.parametrize("key_id", [b"", bytes(15)])
def test_an_id_that_would_find_everything_destroys_nothing(box: Strongbox, key_id: bytes) -> None:
    key = make_key(box)
    with pytest.raises(RequestInvalid):
        box.destroy("keys", key_id)
    assert box.exists("keys", key.name.id)


def test_a_failed_generation_leaves_nothing(token_dir: Path) -> None:
    """A rival plants a second key with the id as soon as the first is there: between generation and read back."""
    rival: list[bytes] = []

    def clock() -> float:
        session = open_raw_session("keys") if rival else None
        if session and find_objects(session, rival[0]):
            generate_pair(session, rival.pop(), "rival")
        return 0.0

    with fresh_strongbox(token_dir, ["keys"], clock=clock) as box:
        key_id = secrets.token_bytes(16)
        rival.append(key_id)
        with pytest.raises(KeyAmbiguous, match="4 objects"):
            box.generate("keys", key_id, "k", "p256")
        assert rival == []
        assert not box.exists("keys", key_id)


def test_serials_random_bytes_and_software_are_told(box: Strongbox) -> None:
    assert box.token_serial("keys") != box.token_serial("journal")
    with pytest.raises(TokenNotFound):
        box.token_serial("other")
    assert len(box.random(32)) == 32
    assert box.random(32) != box.random(32)


@pytest.mark.req("HS-6")
def test_softhsm_is_known_as_software(box: Strongbox) -> None:
    assert box.is_software


@pytest.mark.req("HS-4")
def test_another_thread_and_a_forked_child_are_refused(box: Strongbox) -> None:
    key = make_key(box)
    caught: list[BaseException] = []

    def call() -> None:
        try:
            box.sign(key.name, b"data")
        except HsmError as error:
            caught.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(10)
    assert [type(error) for error in caught] == [WrongThread]
    child = os.fork()
    if child == 0:  # pragma: no cover - in the child
        try:
            box.sign(key.name, b"data")
        except WrongProcess as error:
            os._exit(0 if error.hint == "fork first, open afterwards" else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert box.sign(key.name, b"data")


def test_a_closed_strongbox_says_so(box: Strongbox) -> None:
    key = make_key(box)
    box.close()
    box.close()
    with pytest.raises(StrongboxClosed):
        box.sign(key.name, b"data")


@pytest.mark.req("HS-4")
def test_sixteen_threads_sign_with_locking_by_the_operating_system(token_dir: Path) -> None:
    failures: list[Exception] = []
    with fresh_strongbox(token_dir, ["keys"], os_locking=True) as box:
        key = make_key(box)

        def sign() -> None:
            try:
                for number in range(40):
                    data = number.to_bytes(2, "big")
                    check(key, box.sign(key.name, data), data)
            except (HsmError, InvalidSignature) as error:
                failures.append(error)

        threads = [threading.Thread(target=sign) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert failures == []


def test_a_watchdog_sees_the_call_under_way(token_dir: Path) -> None:
    seen: set[tuple[float, tuple[str, ...]]] = set()
    with fresh_strongbox(token_dir, ["keys"], clock=lambda: 47.11) as box:
        key = make_key(box, algorithm="p384")
        done = threading.Event()

        def watch() -> None:
            while not done.is_set():
                since, calls = box.in_call_since, box.calls
                if since is not None and calls:
                    seen.add((since, calls))

        watchdog = threading.Thread(target=watch)
        watchdog.start()
        while (47.11, (f"{key.name}, C_Sign",)) not in seen:
            box.sign(key.name, b"data")
        done.set()
        watchdog.join(10)
        assert (box.in_call_since, box.calls) == (None, ())


# --- opening


@pytest.mark.req("HS-5")
def test_a_wrong_pin_is_named_and_shown_nowhere(
    token_dir: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    right = make_token(token_dir, "keys")
    wrong = TokenSettings("keys", write_pin(token_dir / "wrong", "wrong-pin-4711"))
    with pytest.raises(PinIncorrect) as caught:
        Strongbox.open(find_module(), [wrong])
    assert caught.value.message == "token keys, C_Login: CKR_PIN_INCORRECT"
    assert caught.value.rv == "CKR_PIN_INCORRECT"
    assert "tried once" in caught.value.hint
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    captured = capfd.readouterr()
    for text in (shown, caplog.text, captured.out, captured.err):
        assert "wrong-pin-4711" not in text
    Strongbox.open(find_module(), [right]).close()


@pytest.mark.req("HS-5")
def test_an_unsafe_pin_file_opens_nothing(token_dir: Path) -> None:
    settings = make_token(token_dir, "keys")
    (token_dir / "keys.pin").chmod(0o640)
    with pytest.raises(PinFileUnsafe):
        Strongbox.open(find_module(), [settings])
    (token_dir / "keys.pin").chmod(0o400)
    Strongbox.open(find_module(), [settings]).close()


def test_settings_name_each_token_once(token_dir: Path) -> None:
    settings = make_token(token_dir, "keys")
    for tokens in ([], [settings, settings]):
        with pytest.raises(RequestInvalid):
            Strongbox.open(find_module(), tokens)


def test_a_missing_token_is_waited_for_and_then_refused(token_dir: Path) -> None:
    settings = make_token(token_dir, "keys")
    tokens, away = token_dir / "tokens", token_dir / "away"
    shutil.copytree(tokens, away)
    shutil.rmtree(tokens)
    tokens.mkdir()
    with pytest.raises(TokenNotFound, match="has no token keys"):
        Strongbox.open(find_module(), [settings])
    arrival = threading.Timer(0.1, lambda: shutil.copytree(away, tokens, dirs_exist_ok=True))
    arrival.start()
    Strongbox.open(find_module(), [settings]).close()
    arrival.join()


def test_a_key_signs_in_the_next_process(token_dir: Path) -> None:
    box = fresh_strongbox(token_dir, ["keys"])
    key = make_key(box)
    box.close()
    program = (
        "import sys; from pathlib import Path\n"
        "from hsm.pins import *; from hsm.strongbox import *; from hsm.tokens import *\n"
        "box = Strongbox.open(Path(sys.argv[1]), [TokenSettings('keys', PinSource.from_file(Path(sys.argv[2])))])\n"
        "print(box.sign(KeyName('keys', bytes.fromhex(sys.argv[3]), sys.argv[4], 'k'), b'data').hex())\n"
    )
    arguments = [str(find_module()), str(token_dir / "keys.pin"), key.name.id.hex(), key.name.spki]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    check(key, bytes.fromhex(done.stdout), b"data")


@pytest.mark.req("HS-7")
def test_an_old_copy_of_the_token_directory_brings_a_destroyed_key_back_and_is_seen(token_dir: Path) -> None:
    box = fresh_strongbox(token_dir, ["keys"])
    key, kept = make_key(box), make_key(box)
    shutil.copytree(token_dir / "tokens", token_dir / "old")
    assert box.destroy("keys", key.name.id)
    assert compare_inventory([kept.name], box.inventory()) == ()
    settings = list(box._register.tokens.values())
    box.close()
    shutil.rmtree(token_dir / "tokens")
    (token_dir / "old").rename(token_dir / "tokens")
    with Strongbox.open(find_module(), settings) as again:
        assert again.token_serial("keys") == key.token_serial
        found = {(item.kind, item.id) for item in compare_inventory([kept.name], again.inventory())}
    assert found == {("unknown", key.name.id)}
