"""Devices of owners that speak CMP: they sign messages with the key of their IDevID or of their LDevID."""

import asyncio
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from ceremonies.commands import DeviceIssued, EnrolDevice, Request
from ceremonies.transactions import WINDOW_S
from tests.ceremonies.lines import Unit
from tests.ceremonies.messaging import Answer, Messaging
from tests.ceremonies.owning import der_of, make_owned
from tests.pki.cmp.writing import Sender, acknowledge, ask_certificate, ask_revocation, name_old
from tests.world import World, make_request


def make_key() -> ec.EllipticCurvePrivateKey:
    """A key for an LDevID."""
    return ec.generate_private_key(ec.SECP256R1())


class Device:
    """A device that was built, and is installed at the site of `site-ca` unless a unit is given that is not.

    wait: until no message is taken for one of before the start.
    """

    def __init__(self, messaging: Messaging, number: int = 1, unit: Unit | None = None, *, wait: bool = False) -> None:
        if wait and messaging.watch is not None:
            messaging.watch.go_on(WINDOW_S + 1)
        self.messaging = messaging
        self.unit = unit or asyncio.run(make_owned(messaging.world, number))
        self.idevid = Sender(self.unit.key, der_of(self.unit.held))
        self._number = 1000 * number

    @property
    def world(self) -> World:
        """Where it is."""
        return self.messaging.world

    def ask(self, body: bytes, sender: Sender | None = None, **more: Any) -> Answer:
        """A message, signed by the IDevID or by another sender, in a transaction of its own, answered."""
        self._number += 1
        given = {"authority": "site-ca", "source": "192.0.2.9", **more}
        return self.messaging.ask(body, given.pop("number", self._number), sender or self.idevid, **given)

    def refuse(self, body: bytes, sender: Sender | None = None) -> str:
        """The code of the problem that a message meets: no key signs the answer."""
        message = self.messaging.write(body, sender=sender or self.idevid)
        return self.messaging.refuse(message, authority="site-ca", source="192.0.2.9")

    def enrol(self, key: ec.EllipticCurvePrivateKey, sender: Sender | None = None, **more: Any) -> Sender:
        """An LDevID for a key."""
        return Sender(key, self.ask(ask_certificate(self.unit.serial, key), sender, **more).certificate)

    def update(self, old: Sender, key: ec.EllipticCurvePrivateKey) -> bytes:
        """The body of a kur."""
        return ask_certificate(self.unit.serial, key, 7, name_old(old.certificate))

    def confirm(self, given: Answer, number: int, sender: Sender) -> Answer:
        """A confirmation in the transaction of a number."""
        return self.ask(acknowledge(given.certificate), sender, number=number, fields={6: given.nonce})

    def give_up(self, ldevid: Sender, sender: Sender | None = None, reason: int = 1) -> Answer:
        """Revoke an LDevID, in a message that it signs, or another sender."""
        return self.ask(ask_revocation(ldevid.certificate, reason), sender or ldevid)

    def enrol_by_est(self, key: ec.EllipticCurvePrivateKey) -> bytes:
        """The certificate (DER) that the same key gets by EST."""
        command = EnrolDevice("site-ca", self.unit.serial, make_request(key))
        request = Request(1, command, "", "192.0.2.9", self.idevid.certificate)
        answer = asyncio.run(self.world.desk.answer(request, local=False))
        assert isinstance(answer, DeviceIssued), answer
        return der_of(answer)
