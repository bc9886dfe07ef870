"""A keyroom that speaks CMP, a station that signs messages, and answers whose signature is verified."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from ceremonies import commands
from ceremonies.commands import AnyResult, CmpAnswered, Problem, Request
from pki.signatures import spki_der, spki_sha256
from pki.x509.der import SEQUENCE, Element, content, read_children, read_whole, whole, write_element
from tests.ceremonies.revoking import Watch
from tests.pki.cmp.writing import NONCE, TRANSACTION, Sender, octets, write_message
from tests.world import CLASS, PLANT, World, make_request

STATION = "graz-3-a"
IP, CP, KUP, RP, PKI_CONF, GENP, ERROR = 1, 3, 8, 12, 19, 22, 23


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


class Answer:
    """An answer, its signature verified by the certificate that it shows. body: the value inside its tag, DER."""

    def __init__(self, der: bytes) -> None:
        header, body, protection, extra = read_children(der, read_whole(der, SEQUENCE))
        self.tag = body[0] - 0xA0
        self.body = content(der, body)
        bits = content(der, read_children(der, protection)[0])
        shown = [whole(der, item) for item in read_children(der, read_children(der, extra)[0])]
        self.certificates = [x509.load_der_x509_certificate(item) for item in shown]
        key = self.certificates[0].public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(bits[1:], write_element(SEQUENCE, whole(der, header), whole(der, body)), ec.ECDSA(hashes.SHA256()))
        self.header = {item[0] - 0xA0: content(der, item) for item in read_children(der, header)[3:]}
        assert self.header[6] == octets(NONCE)
        self.nonce = self.header[5]

    @property
    def status(self) -> tuple[int, str]:
        """The first PKIStatusInfo: its status, and its words."""
        path = {ERROR: (0,), RP: (0, 0)}.get(self.tag, (0, 0, 1))
        info = self._descend(*path)
        parts = read_children(info, read_whole(info, SEQUENCE))
        words = content(info, read_children(info, parts[1])[0]).decode() if len(parts) > 1 else ""
        return content(info, parts[0])[0], words

    @property
    def code(self) -> str:
        """The rule that refused; empty when nothing did."""
        status, words = self.status
        assert (status == 2) == bool(words)
        return words.partition(":")[0]

    @property
    def certificate(self) -> bytes:
        """The certificate of an ip, cp or kup, DER."""
        return self._descend(0, 0, 2, 0, 0)

    def _descend(self, *path: int) -> bytes:
        """The value at the end of a path of indexes."""
        element: Element = read_whole(self.body, SEQUENCE)
        for index in path:
            element = read_children(self.body, element)[index]
        return whole(self.body, element)


class Messaging(NamedTuple):
    """A world, a station of it, and the world's clock."""

    world: World
    station: Sender
    watch: Watch | None = None

    def write(self, body: bytes, fields: Mapping[int, bytes | None] = {}, sender: Sender | None = None) -> bytes:
        """A message of the station, or of another sender, at the world's time."""
        at = datetime.fromtimestamp(self.world.around.now_us() // 1_000_000, UTC)
        return write_message(sender or self.station, body, fields, at)

    def transact(self, message: bytes, authority: str = "device-ca", source: str = "192.0.2.7") -> AnyResult | Problem:
        """Ask the desk, as the API does for anybody."""
        request = Request(1, commands.TransactCmp(authority, message), "", source)
        return asyncio.run(self.world.desk.answer(request, local=False))

    def ask(self, body: bytes, number: int = 0, sender: Sender | None = None, **more: Any) -> Answer:
        """A message in the transaction of a number, answered."""
        fields = {4: octets(name_transaction(number)), **more.pop("fields", {})}
        answered = self.transact(self.write(body, fields, sender), **more)
        assert isinstance(answered, CmpAnswered), answered
        answer = Answer(answered.response)
        assert answer.header[4] == octets(name_transaction(number))
        return answer

    def refuse(self, message: bytes, **more: Any) -> str:
        """The code of the problem that a message meets."""
        answered = self.transact(message, **more)
        assert isinstance(answered, Problem), answered
        return answered.code


def name_transaction(number: int) -> bytes:
    """A transaction identifier."""
    return number.to_bytes(16, "big") if number else TRANSACTION
