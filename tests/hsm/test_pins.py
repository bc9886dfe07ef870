import copy
import os
import pickle
import traceback
from pathlib import Path

import msgspec
import pytest

from hsm.errors import HsmError, PinFileUnsafe, PinUnreadable
from hsm.pins import PinSource, Secret
from hsm.tokens import TokenSettings

PIN = "correct-horse-7313"


def pin_file(path: Path, content: bytes = PIN.encode(), mode: int = 0o600) -> PinSource:
    path.write_bytes(content)
    path.chmod(mode)
    return PinSource.from_file(path)


def pipe(content: bytes) -> PinSource:
    read_end, write_end = os.pipe()
    os.write(write_end, content)
    os.close(write_end)
    return PinSource.from_descriptor(read_end)


@pytest.mark.parametrize("content", [PIN.encode(), PIN.encode() + b"\n"])
def test_a_file_and_a_descriptor_give_the_pin(tmp_path: Path, content: bytes) -> None:
    for source in (pin_file(tmp_path / "pin", content), pipe(content)):
        with source.reveal() as pin:
            assert pin.raw == PIN.encode()


def test_a_descriptor_serves_again_and_is_closed(tmp_path: Path) -> None:
    source = pipe(PIN.encode())
    descriptor = int(str(source).rpartition(" ")[2].rstrip(")"))
    for _ in range(2):
        with source.reveal() as pin:
            assert pin.raw == PIN.encode()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_closed_descriptor_is_unreadable() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    os.close(write_end)
    with pytest.raises(PinUnreadable), PinSource.from_descriptor(read_end).reveal():
        pass


def test_a_file_pin_is_overwritten_after_use(tmp_path: Path) -> None:
    with pin_file(tmp_path / "pin").reveal() as pin:
        pass
    assert pin.raw == bytes(len(PIN))


@pytest.mark.req("HS-5")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(PinFileUnsafe, match=f"{mode:04o}") as caught, pin_file(tmp_path / "pin", mode=mode).reveal():
        pass
    assert "chmod" in caught.value.hint


@pytest.mark.req("HS-5")
def test_a_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = pin_file(tmp_path / "pin")
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(PinFileUnsafe, match="4711"), source.reveal():
        pass


def test_a_symbolic_link_a_directory_and_nothing_are_unreadable(tmp_path: Path) -> None:
    pin_file(tmp_path / "pin")
    (tmp_path / "link").symlink_to(tmp_path / "pin")
    for name in ("link", ".", "missing"):
        with pytest.raises(PinUnreadable), PinSource.from_file(tmp_path / name).reveal():
            pass


@pytest.mark.parametrize("content", [b"", b"\n", b"123\n", b"x" * 256, b"x" * 5000, b"12\n34\n", b"12\x0034"])
def test_what_is_no_pin_is_unreadable(tmp_path: Path, content: bytes) -> None:
    for source in (pin_file(tmp_path / "pin", content), pipe(content)):
        with pytest.raises(PinUnreadable), source.reveal():
            pass


def fail_with_the_pin_in_frames(source: PinSource) -> None:
    with source.reveal() as pin:
        copied: Secret = pin
        raise HsmError(f"failed with {copied!r}")


@pytest.mark.req("HS-5")
def test_no_repr_and_no_traceback_shows_the_pin(tmp_path: Path) -> None:
    for source in (pin_file(tmp_path / "pin"), pipe(PIN.encode())):
        settings = TokenSettings(label="a", pin=source)
        with pytest.raises(HsmError) as caught:
            fail_with_the_pin_in_frames(source)
        lines = traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
        for text in (repr(source), str(settings), "".join(lines)):
            assert PIN not in text
        assert "copied" in "".join(
            traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
        )


@pytest.mark.req("HS-5")
def test_a_pin_source_is_not_sent_anywhere(tmp_path: Path) -> None:
    settings = TokenSettings(label="a", pin=pin_file(tmp_path / "pin"))
    for send in (pickle.dumps, copy.deepcopy, msgspec.json.encode):
        with pytest.raises(TypeError):
            send(settings)
