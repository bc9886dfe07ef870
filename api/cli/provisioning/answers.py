"""The files of an answer, in the directory of `--out`, each written whole or not at all, and never over another.

SERIAL.crt.pem and SERIAL.chain.pem, one behind the other, are what the unit stores and what is read back; SERIAL.nonce
is what it signs with its confirmation (hex); SERIAL.answer.json is all of the answer, and which request it answers. It
comes last: when it is there, so are the others.
"""

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from api.cli.device import Device
from api.cli.errors import CliError
from api.cli.files import read_file
from api.cli.provisioning.records import Queued
from pki.errors import PkiError
from pki.x509.confirmations import hash_chain
from pki.x509.requests import parse_request

ANSWER_LIMIT: Final = 1 << 18


class AnswerMismatch(CliError):
    """The service answered with a certificate for another key, or another serial."""

    code = "answer-mismatch"


class AnswerInTheWay(CliError):
    """The answer to another request stands where this one should."""

    code = "answer-in-the-way"


class Kept(msgspec.Struct, frozen=True):
    """SERIAL.answer.json. csr_sha256: of the request's file; chain_sha256: what must be read back, hex."""

    work_order: str
    csr_sha256: str
    chain_sha256: str
    device: Device


class Recorded(msgspec.Struct, frozen=True):
    """SERIAL.confirmed.json. chain_sha256: what was read back; index: the journal's entry."""

    work_order: str
    chain_sha256: str
    index: int


class Confirmed(msgspec.Struct, frozen=True):
    """The answer to a confirmation."""

    serial: str
    index: int
    replayed: bool


def write_device(request: Queued, device: Device) -> None:
    """Write the answer to a request. Raises AnswerMismatch, AnswerInTheWay, OSError."""
    check_device(request, device)
    out, certificate, chain = Path(request.out), device.certificate.encode(), device.chain.encode()
    kept = Kept(request.order, digest(request.csr), hash_chain(certificate, chain), device)
    earlier = read_kept(out, request.serial)
    if earlier is not None:
        # The same answer comes with a newer proof; the first is as good.
        if drop_proof(earlier) != drop_proof(kept):
            raise AnswerInTheWay(
                f"{out / request.serial}.answer.json is another answer", hint="move it away, or use another --out"
            )
        kept = earlier
    put(out / f"{request.serial}.crt.pem", certificate)
    put(out / f"{request.serial}.chain.pem", chain)
    put(out / f"{request.serial}.nonce", device.nonce.encode() + b"\n")
    put(out / f"{request.serial}.answer.json", write_json(kept))


def write_confirmed(request: Queued, confirmed: Confirmed) -> None:
    """Write that a unit is confirmed. A second confirmation of the same keeps the first's file."""
    if confirmed.serial != request.serial:
        raise AnswerMismatch(f"the service answered for {confirmed.serial[:64]!r}", hint="do not trust this service")
    recorded = Recorded(request.order, request.chain_sha256, confirmed.index)
    put(Path(request.out) / f"{request.serial}.confirmed.json", write_json(recorded))


def check_device(request: Queued, device: Device) -> None:
    """The certificate is for the request's key and serial. Raises AnswerMismatch."""
    try:
        certificate = x509.load_pem_x509_certificate(device.certificate.encode())
        spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        same = spki == parse_request(request.csr).request.public_key and device.serial == request.serial
        bytes.fromhex(device.nonce)
    except (ValueError, PkiError) as error:
        raise AnswerMismatch(f"the answer for {request.serial} cannot be read: {error}") from error
    if not same:
        raise AnswerMismatch(
            f"the answer for {request.serial} is for another key or serial",
            hint="quarantine the unit; tell the service",
        )


def is_answered(request: Queued) -> bool:
    """Whether the answer to this very request is there. Raises AnswerInTheWay when there is another."""
    out, serial = Path(request.out), request.serial
    kept = read_kept(out, serial)
    if kept is not None and (kept.work_order, kept.csr_sha256) == (request.order, digest(request.csr)):
        return True
    if kept is not None or (out / f"{serial}.crt.pem").exists():
        raise AnswerInTheWay(
            f"{out} has an answer for {serial} to another request", hint="move it away, or use another --out"
        )
    return False


def is_confirmed(out: Path, serial: str) -> bool:
    """Whether it is written here that the unit was confirmed with the answer that is here. Raises AnswerInTheWay."""
    kept, path = read_kept(out, serial), out / f"{serial}.confirmed.json"
    if kept is None or not path.exists():
        return False
    try:
        said: Recorded = msgspec.json.decode(read_file(path, ANSWER_LIMIT), type=Recorded)
    except msgspec.MsgspecError as error:
        raise AnswerInTheWay(f"{path} is no confirmation: {error}", hint="move it away") from error
    return said.chain_sha256 == kept.chain_sha256


def read_kept(out: Path, serial: str) -> Kept | None:
    """The answer that is there, if any. Raises AnswerInTheWay when it cannot be read."""
    path = out / f"{serial}.answer.json"
    if not path.exists():
        return None
    try:
        return msgspec.json.decode(read_file(path, ANSWER_LIMIT), type=Kept)
    except msgspec.MsgspecError as error:
        raise AnswerInTheWay(f"{path} is no answer: {error}", hint="move it away") from error


def drop_proof(kept: Kept) -> Kept:
    """What of an answer never changes."""
    proven = msgspec.structs.replace(kept.device.proven, proof="")
    device = msgspec.structs.replace(kept.device, proven=proven, replayed=False, trust_set=None, birth_package=None)
    return msgspec.structs.replace(kept, device=device)


def digest(data: bytes) -> str:
    """SHA-256, hex."""
    return hashlib.sha256(data).hexdigest()


def write_json(value: Any) -> bytes:
    """JSON that people can read, too."""
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"


def put(path: Path, data: bytes) -> None:
    """A durable file that is there as a whole or not at all. Raises AnswerInTheWay when another stands there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(part, path)
            return
    finally:
        part.unlink(missing_ok=True)
    if path.read_bytes() != data:
        raise AnswerInTheWay(f"{path} exists and is another file", hint="move it away, or use another --out")
