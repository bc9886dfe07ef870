import threading
from pathlib import Path

import pytest

from hsm.errors import (
    CallFailed,
    HsmError,
    ModuleInUse,
    ModuleUnloadable,
    TokenAmbiguous,
    TokenNotFound,
    TokenUnavailable,
)
from hsm.module import Module
from tests.softhsm import find_module, make_token


@pytest.mark.parametrize("content", [None, b"", b"no library"])
def test_what_is_no_library_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "module.so"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModuleUnloadable, match="not a PKCS#11 library"):
        Module(path)


def test_a_library_that_is_not_pkcs11_is_refused() -> None:
    with pytest.raises(ModuleUnloadable, match="C_GetFunctionList"):
        Module(Path("libc.so.6"))


@pytest.mark.req("HS-4")
def test_a_process_initialises_a_library_once(token_dir: Path) -> None:
    module = Module(find_module())
    try:
        with pytest.raises(ModuleInUse, match="C_Initialize: CKR_CRYPTOKI_ALREADY_INITIALIZED"):
            Module(find_module())
    finally:
        module.finalise()
    Module(find_module(), os_locking=True).finalise()


def test_calls_after_finalise_say_so(token_dir: Path) -> None:
    module = Module(find_module())
    module.finalise()
    for call in (module.finalise, module.find_free_slot, lambda: module.find_token("a")):
        with pytest.raises(TokenUnavailable, match="CKR_CRYPTOKI_NOT_INITIALIZED"):
            call()


def test_tokens_are_found_by_their_label(token_dir: Path) -> None:
    make_token(token_dir, "a")
    module = Module(find_module())
    try:
        assert module.find_token("a").label == "a"
        assert "SoftHSM" in module.description
        with pytest.raises(TokenNotFound, match="has no token b"):
            module.find_token("b")
    finally:
        module.finalise()


def test_two_tokens_with_one_label_are_refused(token_dir: Path) -> None:
    settings = make_token(token_dir, "a")
    module = Module(find_module())
    try:
        with settings.pin.reveal() as pin:
            module.initialise_token(module.find_free_slot(), "a", pin)
        with pytest.raises(TokenAmbiguous, match=r"2 tokens a: [0-9a-f]{16}, [0-9a-f]{16}"):
            module.find_token("a")
    finally:
        module.finalise()


def test_an_error_names_the_call(token_dir: Path) -> None:
    module = Module(find_module())
    try:
        with pytest.raises(CallFailed) as caught:
            module.is_logged_in(4711, "token a")
        assert caught.value.message == "token a, C_GetSessionInfo: CKR_SESSION_HANDLE_INVALID"
    finally:
        module.finalise()


@pytest.mark.req("HS-4")
def test_locking_by_the_operating_system_lets_threads_in(token_dir: Path) -> None:
    make_token(token_dir, "a")
    module = Module(find_module(), os_locking=True)
    failures: list[HsmError] = []

    def look() -> None:
        try:
            for _ in range(200):
                module.find_token("a")
        except HsmError as error:
            failures.append(error)

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    module.finalise()
    assert failures == []
