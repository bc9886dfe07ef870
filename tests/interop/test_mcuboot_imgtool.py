"""imgtool makes the unsigned images and judges ours: MCUboot's own tool, run as a foreign program."""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from pki.formats.errors import FormatError, ImageDigestMismatch
from pki.formats.mcuboot import draft_image, prepare_image, read_image
from pki.formats.mcuboot_verify import verify_image
from pki.signatures import PublicKey, spki_der
from tests.pki.formats.mcuboot_images import CLASS, VENDOR, finish, name, public_pem, spki

IMGTOOL = Path(__file__).parents[2] / ".tools/py/bin/imgtool"
Build = Callable[..., bytes]


def imgtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([IMGTOOL, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """`imgtool sign` without a key: header, protected TLVs and digest, no signature."""

    def run(*options: str) -> bytes:
        source, target = tmp_path / "app.bin", tmp_path / "unsigned.bin"
        source.write_bytes(bytes(range(256)) * 16)
        fixed = ["--version", "2.3.0+7", "--header-size", "0x200", "--pad-header", "--slot-size", "0x20000"]
        done = imgtool("sign", *fixed, *options, source, target)
        assert done.returncode == 0, done.stderr
        return target.read_bytes()

    return run


def sign(unsigned: bytes, numbers: Sequence[int]) -> bytes:
    prepared = prepare_image(read_image(unsigned), security_counter=3, class_id=CLASS, vendor_id=VENDOR)
    return finish(draft_image(prepared, [spki(number) for number in numbers], summary="", what={}), numbers)


def judge(tmp_path: Path, data: bytes, number: int) -> subprocess.CompletedProcess[str]:
    image, key = tmp_path / "image.bin", tmp_path / "key.pub.pem"
    image.write_bytes(data)
    key.write_bytes(public_pem(number))
    return imgtool("verify", "-k", key, image)


def test_facts_of_an_unsigned_image(build: Build) -> None:
    image = read_image(build("--security-counter", "3", "--vid", VENDOR.hex(), "--cid", CLASS.hex()))
    assert image.version_text == "2.3.0+7"
    assert (image.header_size, image.image_size) == (0x200, 4096)
    assert (image.security_counter, image.class_id, image.vendor_id) == (3, CLASS, VENDOR)
    assert image.stated_digest == image.digest
    assert image.signatures == ()


@pytest.mark.parametrize(
    "options",
    [(), ("--security-counter", "3"), ("--security-counter", "3", "--custom-tlv", "0x00a1", "0x0102")],
    ids=["bare", "counter", "vendor TLV"],
)
@pytest.mark.parametrize("numbers", [(1,), (2, 1)], ids=["single", "dual"])
def test_signed_image_verifies_under_each_key(
    tmp_path: Path, build: Build, options: tuple[str, ...], numbers: tuple[int, ...]
) -> None:
    data = sign(build(*options), numbers)
    for number in numbers:
        done = judge(tmp_path, data, number)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Image version: 2.3.0+7" in done.stdout
        assert read_image(data).digest.hex() in done.stdout
    assert judge(tmp_path, data, 9).returncode != 0
    assert verify_image(data, [spki(number) for number in numbers]).keys == tuple(name(n) for n in numbers)


def test_an_image_that_states_everything_keeps_its_digest(build: Build) -> None:
    options = ("--security-counter", "3", "--vid", VENDOR.hex(), "--cid", CLASS.hex())
    unsigned = read_image(build(*options))
    prepared = prepare_image(unsigned, security_counter=3, class_id=CLASS, vendor_id=VENDOR)
    assert prepared.digest == unsigned.stated_digest


def test_an_image_signed_by_imgtool_is_read(tmp_path: Path, build: Build) -> None:
    key = tmp_path / "key.pem"
    assert imgtool("keygen", "-k", key, "-t", "ecdsa-p256").returncode == 0
    public = tmp_path / "key.pub.pem"
    assert imgtool("getpub", "-k", key, "-e", "pem", "-o", public).returncode == 0
    keyhash = tmp_path / "key.hash"
    assert imgtool("getpubhash", "-k", key, "-e", "raw", "-o", keyhash).returncode == 0
    options = ("--security-counter", "3", "--vid", VENDOR.hex(), "--cid", CLASS.hex(), "--key", str(key))
    loaded = load_pem_public_key(public.read_bytes())
    assert isinstance(loaded, PublicKey)
    verified = verify_image(build(*options), [spki_der(loaded)])
    assert verified.keys == (keyhash.read_bytes().hex(),)


def test_a_changed_byte_is_refused_by_both(tmp_path: Path, build: Build) -> None:
    data = bytearray(sign(build(), (1,)))
    data[0x300] ^= 1
    assert judge(tmp_path, bytes(data), 1).returncode != 0
    with pytest.raises(ImageDigestMismatch):
        verify_image(bytes(data), [spki(1)])


@pytest.mark.parametrize("options", [("--pad",), ("--encrypt",), ("--non-bootable",)])
def test_what_kedge_does_not_sign_is_refused(tmp_path: Path, build: Build, options: tuple[str, ...]) -> None:
    if options == ("--encrypt",):
        (tmp_path / "enc.pem").write_bytes(public_pem(5))
        options = ("--encrypt", str(tmp_path / "enc.pem"))
    with pytest.raises(FormatError):
        read_image(build(*options))
