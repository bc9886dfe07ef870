"""Requests from files: CSRs, and confirmations from what was read back and what the unit signed."""

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from api.cli.errors import CliError, FileRefused
from api.cli.files import read_file
from api.cli.provisioning.answers import ANSWER_LIMIT, Kept, digest, read_kept
from api.cli.provisioning.records import Queued
from pki.errors import PkiError
from pki.x509.confirmations import confirmed_bytes, verify_confirmation

CSR, READBACK, SIGNATURE = ".csr", ".readback", ".sig"
CSR_LIMIT: Final = 1 << 14
SIGNATURE_LIMIT: Final = 80
SIGNER_S: Final = 60.0
FILES_LIMIT: Final = 10_000
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class ChainMismatch(CliError):
    """What was read back is not what was handed out."""

    code = "chain-mismatch"


class ConfirmationInvalid(CliError):
    """The unit's signature is not by the key of its certificate."""

    code = "confirmation-invalid"


class SignerFailed(CliError):
    """The command that has a unit sign ended badly."""

    code = "signer-failed"


class DeviceUnanswered(CliError):
    """There is no answer for this serial: nothing to confirm."""

    code = "device-unknown"


class Source(msgspec.Struct, frozen=True):
    """A unit's file, and the serial that it is for."""

    serial: str
    path: Path


def list_sources(path: Path, ending: str) -> list[Source]:
    """A file, or every file of a directory, each named by its serial and `ending`. Raises FileRefused."""
    paths = sorted(path.glob(f"*{ending}")) if path.is_dir() else [path]
    found = [Source(item.name.removesuffix(ending), item) for item in paths if item.name.endswith(ending)]
    if not found or len(found) > FILES_LIMIT:
        raise FileRefused(f"{path}: {len(found)} files named SERIAL{ending}", hint=f"1 to {FILES_LIMIT} at a time")
    for source in found:
        check_name(source.serial, f"the serial of {source.path}")
    return found


def check_name(name: str, what: str) -> None:
    """Raises FileRefused unless this may be a serial or a work order: it becomes part of URLs and of files' names."""
    if _NAME.fullmatch(name) is None:
        raise FileRefused(f"{what} is {name[:80]!r}", hint="letters, digits, dot, dash and underscore; at most 64")


def read_csr(source: Source, order: str, out: Path, at: int) -> Queued:
    """A request for a certificate, whose answer goes into `out`. Raises FileRefused."""
    csr = read_file(source.path, CSR_LIMIT)
    if not csr:
        raise FileRefused(f"{source.path} is empty")
    return Queued("issue", order, source.serial, str(out.absolute()), at, csr=csr)


def read_confirmation(source: Source, signer: str, at: int) -> Queued:
    """A confirmation of a unit: what was read back is compared with the answer beside it, then the unit has signed
    (SERIAL.sig), or signs now.

    Raises FileRefused, DeviceUnanswered, ChainMismatch, SignerFailed, ConfirmationInvalid.
    """
    folder = source.path.parent
    kept = read_kept(folder, source.serial)
    if kept is None:
        raise DeviceUnanswered(f"{folder} has no answer for {source.serial}", hint="`kedge station issue` first")
    chain = digest(read_file(source.path, ANSWER_LIMIT))
    if chain != kept.chain_sha256:
        raise ChainMismatch(
            f"{source.serial} does not hold what was handed out",
            hint="write it again and read it back; quarantine the unit when it happens twice",
        )
    if signer:
        signed = run_signer(signer, source.serial, confirmed_bytes(bytes.fromhex(kept.device.nonce), chain))
    else:
        signed = read_file(folder / f"{source.serial}{SIGNATURE}", SIGNATURE_LIMIT)
    check_signature(source.serial, kept, signed)
    out = str(folder.absolute())
    return Queued("confirm", kept.work_order, source.serial, out, at, chain_sha256=chain, signature=signed)


def run_signer(command: str, serial: str, message: bytes) -> bytes:
    """Have the unit sign: the command gets the message on its standard input and the serial in KEDGE_SERIAL, and
    answers with the signature alone. No shell is between. Raises SignerFailed.
    """
    try:
        done = subprocess.run(
            shlex.split(command), input=message, capture_output=True, timeout=SIGNER_S, check=False,
            env={**os.environ, "KEDGE_SERIAL": serial},
        )  # fmt: skip
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise SignerFailed(f"the signing command for {serial}: {error}") from error
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip()[-200:]
        raise SignerFailed(f"the signing command for {serial} ended with {done.returncode}: {said}")
    return done.stdout


def check_signature(serial: str, kept: Kept, signature: bytes) -> None:
    """As the service will: better here, where the unit still is. Raises ConfirmationInvalid."""
    key = x509.load_pem_x509_certificate(kept.device.certificate.encode()).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    try:
        verify_confirmation(spki, bytes.fromhex(kept.device.nonce), kept.chain_sha256, signature)
    except (PkiError, IndexError, ValueError) as error:
        raise ConfirmationInvalid(
            f"the confirmation of {serial} is not signed by its key", hint="quarantine the unit"
        ) from error


def split_batches(waiting: list[Queued], count: int, size: int) -> Iterator[list[Queued]]:
    """What waits, in order, in parts of one act and order: at most `count` requests, about `size` bytes in JSON."""
    part: list[Queued] = []
    room = size
    for request in waiting:
        more = len(request.csr) * 4 // 3 + 256
        other = part and (part[0].act, part[0].order) != (request.act, request.order)
        if part and (other or len(part) == count or more > room):
            yield part
            part, room = [], size
        part.append(request)
        room -= more
    if part:
        yield part
