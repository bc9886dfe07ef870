"""A keyroom that speaks CMP, a station that signs messages, and answers whose signature is verified."""

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from ceremonies import commands
from ceremonies.commands import AnyResult, CmpAnswered, Problem, Request
from pki.signatures import spki_der, spki_sha256
from pki.x509.der import SEQUENCE, content, read_children, read_whole, whole, write_element
from tests.pki.cmp.writing import NONCE, TRANSACTION, Sender, octets, write_message
from tests.world import CLASS, PLANT, World, make_request

STATION = "graz-3-a"


async def make_responder(world: World, label: str = "cmp-1", days: int = 30, **more: str) -> None:
    """Hold the ceremony that makes a responder of the device CA."""
    plan = {"label": label, "ca": "device-ca", "token": "kedge-main", "days": days, **more}
    await world.ceremony(f"make-{label}", "cmp-responder", plan)


async def make_station(world: World, name: str = STATION, **fields: Any) -> Sender:
    """A station, enrolled and certified."""
    key = ec.generate_private_key(ec.SECP256R1())
    plan = {
        "station": name, "plant": PLANT, "lines": ["3"], "classes": [CLASS],
        "key": spki_sha256(spki_der(key.public_key())), **fields,
    }  # fmt: skip
    await world.ceremony(f"enrol-{name}", "station-enrol", plan)
    issued = await world.ask(commands.IssueStation(name, make_request(key)), "", commands.StationIssued)
    certificate = x509.load_pem_x509_certificate(issued.certificate)
    return Sender(key, certificate.public_bytes(Encoding.DER))


async def prepare(world: World) -> Sender:
    """A responder, and a station."""
    await make_responder(world)
    return await make_station(world)


def transact(
    world: World, message: bytes, authority: str = "device-ca", source: str = "192.0.2.7"
) -> AnyResult | Problem:
    """Ask the desk, as the API does for anybody."""
    request = Request(1, commands.TransactCmp(authority, message), "", source)
    return asyncio.run(world.desk.answer(request, local=False))


class Answer:
    """An answer, its signature verified by the certificate that it shows. body: the value inside its tag, DER."""

    def __init__(self, der: bytes) -> None:
        header, body, protection, extra = read_children(der, read_whole(der, SEQUENCE))
        self.tag = body[0] - 0xA0
        self.body = content(der, body)
        bits = content(der, read_children(der, protection)[0])
        certificates = read_children(der, read_children(der, extra)[0])
        self.certificates = [x509.load_der_x509_certificate(whole(der, item)) for item in certificates]
        key = self.certificates[0].public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(bits[1:], write_element(SEQUENCE, whole(der, header), whole(der, body)), ec.ECDSA(hashes.SHA256()))
        self.header = {item[0] - 0xA0: content(der, item) for item in read_children(der, header)[3:]}
        assert self.header[4] == octets(TRANSACTION)
        assert self.header[6] == octets(NONCE)
        self.nonce = self.header[5]

    def find_certificate(self) -> bytes:
        """The certificate of an ip, cp or kup, DER."""
        at = self.body.index(bytes.fromhex("3082"), 40)
        return x509.load_der_x509_certificate(self.body[self._start(at) :]).public_bytes(Encoding.DER)

    def _start(self, at: int) -> int:
        return at


def ask(world: World, sender: Sender, body: bytes, fields: Mapping[int, bytes | None] = {}, **more: Any) -> Answer:
    """One message of a station, answered."""
    answered = transact(world, write_message(sender, body, fields), **more)
    assert isinstance(answered, CmpAnswered), answered
    return Answer(answered.response)


def digest(data: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(data).digest()
