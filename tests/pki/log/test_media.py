"""Media: what tar writes is read, and nothing else; a name leads nowhere."""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.log.errors import AuditFailed
from pki.log.media import BLOCK, list_files, write_medium

FILES = {"checkpoint": b"abc", "tile/0/000.p/5": b"x" * 1000, "blob/ab/" + "ab" * 32: b"", "x": b"y" * BLOCK}


def read_all(data: bytes) -> dict[str, bytes]:
    found = list_files(lambda at, size: data[at : at + size])
    return {name: data[place.offset : place.offset + place.size] for name, place in found.items()}


def write_all(files: dict[str, bytes]) -> bytes:
    return b"".join(write_medium(files, files.__getitem__))


def make_tar(*members: tarfile.TarInfo, form: int = tarfile.USTAR_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(bytes(member.size)))
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 3) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, "/etc/passwd"
    return info


def test_what_was_written_is_read() -> None:
    assert read_all(write_all(FILES)) == FILES
    with tarfile.open(fileobj=io.BytesIO(write_all(FILES))) as archive:
        assert set(archive.getnames()) == set(FILES)


def test_what_tar_writes_is_read(tmp_path: Path) -> None:
    for name, data in FILES.items():
        path = tmp_path / "export" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    command = ["tar", "--format=ustar", "-C", str(tmp_path / "export"), "-cf", str(tmp_path / "medium.tar"), "."]
    subprocess.run(command, check=True)
    assert read_all((tmp_path / "medium.tar").read_bytes()) == FILES


@pytest.mark.req("AU-2")
@pytest.mark.parametrize(
    "data",
    [
        make_tar(member("../escape")),
        make_tar(member("a/../b")),
        make_tar(member("/etc/passwd")),
        make_tar(member("a//b")),
        make_tar(member("a\\b")),
        make_tar(member(".hidden")),
        make_tar(member("a b")),
        make_tar(member("link", tarfile.SYMTYPE, 0)),
        make_tar(member("link", tarfile.LNKTYPE, 0)),
        make_tar(member("device", tarfile.CHRTYPE, 0)),
        make_tar(member("pipe", tarfile.FIFOTYPE, 0)),
        make_tar(member("a"), member("a")),
        make_tar(member("long" * 20 + "/" + "x" * 90)),
        make_tar(member("long/" + "x" * 120), form=tarfile.GNU_FORMAT),
        make_tar(member("\u00e4"), form=tarfile.PAX_FORMAT),
        write_all(FILES)[: BLOCK // 2],
        b"",
        b"not a tar" * 100,
    ],
)
def test_what_is_no_plain_file_is_refused(data: bytes) -> None:
    with pytest.raises(AuditFailed):
        read_all(data)


def test_a_size_that_is_not_there_is_refused() -> None:
    data = bytearray(write_all({"a": b"abc"}))
    data[124:135] = b"77777777777"
    data[148:156] = b"%06o\0 " % (sum(data[:148]) + 8 * 0x20 + sum(data[156:BLOCK]))
    with pytest.raises(AuditFailed, match="at most"):
        read_all(bytes(data))


@given(st.binary(max_size=2 * BLOCK), st.integers(0, 3 * BLOCK))
def test_garbage_is_refused_or_read(noise: bytes, at: int) -> None:
    data = bytearray(write_all({"a": b"abc", "b": b"d" * 600}))
    data[at : at + len(noise)] = noise
    try:
        found = read_all(bytes(data))
    except AuditFailed:
        return
    assert all("/" not in name and ".." not in name for name in found) or set(found) <= {"a", "b"}


def test_a_name_that_no_export_has_is_not_written() -> None:
    with pytest.raises(AuditFailed):
        write_all({"../a": b""})
