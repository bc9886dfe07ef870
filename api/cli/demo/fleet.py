"""Scene 5's devices: twenty controllers after the device rules, with power cuts at random writes."""

import base64
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from api.cli.demo.issuer import Issuer
from api.cli.demo.plans import CLASS
from api.cli.demo.stage import DemoFailed, Stage
from ceremonies.hardware import class_profile
from ceremonies.policy import Policy
from pki.errors import PkiError
from pki.signatures import spki_der
from pki.trust.device import Device
from pki.trust.device_memory import Memory, Store, keep
from pki.trust.device_profile import Identity
from pki.trust.links import verify_genesis
from pki.trust.receipts import compute_ueid, draft_receipt
from pki.trust.rehearsal import Bundle, Release, follow

CAMPAIGN: Final = b"rotation-2026-01"
CUT_CHANCE: Final = 0.1
TRIES: Final = 500


class PowerCut(Exception):
    """The power failed at a write."""


class Controller:
    """One device: the model, its identity key (made by openssl), and the power grid that it hangs on."""

    def __init__(self, serial: str, key: ec.EllipticCurvePrivateKey, device: Device, grid: random.Random) -> None:
        self.serial, self.key, self.device, self.grid = serial, key, device, grid
        self.cuts = 0
        self.receipts = 0

    def follow(self, bundle: Bundle) -> None:
        """Take a bundle; whenever the power fails, boot and go on from what is in memory."""
        for _ in range(TRIES):
            device = self._fork(self._write)
            try:
                follow(device, bundle)
                return
            except PowerCut:
                self.cuts += 1
        raise DemoFailed(f"{self.serial}: never got through a bundle")

    def _fork(self, store: Store) -> Device:
        hardware = self.device.hardware
        self.device = Device(hardware.profile, hardware.identity, hardware.memory, store)
        return self.device

    def _write(self, before: Memory, after: Memory) -> Memory:
        """One write: the power fails before it (the old memory stays) or after it (the new one), or not at all."""
        fate = self.grid.random()
        if fate >= CUT_CHANCE:
            return after
        self.device.hardware.memory = before if fate < CUT_CHANCE / 2 else after
        raise PowerCut

    def copy(self) -> Device:
        """The same device again, for what an adversary does to it."""
        hardware = self.device.hardware
        return Device(hardware.profile, hardware.identity, hardware.memory)

    def settle(self) -> None:
        """The power is stable again."""
        self._fork(keep).boot()

    def receipt(self, challenge: bytes) -> bytes:
        """A signed answer to a challenge."""
        spki = spki_der(self.key.public_key())
        draft = draft_receipt(spki, self.device.receipt(challenge))
        r, s = decode_dss_signature(self.key.sign(draft.to_sign[0].data, ec.ECDSA(hashes.SHA256())))
        self.receipts += 1
        return draft.finish({draft.to_sign[0].spki: r.to_bytes(32, "big") + s.to_bytes(32, "big")})

    def try_refused(self, stage: Stage, tried: str, act: Callable[[Device], object]) -> None:
        """Something that the device must refuse, with its memory as before. Raises DemoFailed when it does not."""
        before = self.device.memory
        try:
            act(self.device)
        except PkiError as error:
            if self.device.memory != before:
                raise DemoFailed(f"{self.serial}: refused {tried}, but changed its memory") from error
            stage.refuse(f"device: {tried}", error.code)
            return
        raise DemoFailed(f"{self.serial} accepted {tried}")


class Fleet:
    """All controllers, and the gateway that serves them."""

    def __init__(self, stage: Stage, gateway: Issuer, controllers: list[Controller]) -> None:
        self.stage, self.gateway, self.controllers = stage, gateway, controllers

    def move(self, bundle: Bundle, *, but: str = "") -> int:
        """Send a bundle to every controller but one; how often the power was cut on the way."""
        before = sum(controller.cuts for controller in self.controllers)
        for controller in self.controllers:
            if controller.serial != but:
                controller.follow(bundle)
                controller.settle()
        return sum(controller.cuts for controller in self.controllers) - before

    def report(self, *, but: str = "") -> None:
        """Fetch a challenge per controller, hand in signed receipts. Raises DemoFailed when one is refused."""
        token = self.gateway.issue("gateway:graz-1", role="gateway")
        receipts = []
        for controller in self.controllers:
            if controller.serial == but:
                continue
            challenge = self._challenge(controller, token)
            receipts.append(controller.receipt(challenge))
            self.stage.write(f"receipts/{controller.serial}-{controller.receipts}.cose", receipts[-1])
        body = {"receipts": [base64.b64encode(receipt).decode() for receipt in receipts]}
        taken = self.stage.ask("POST", "/v1/receipts", token, json=body)
        if any(taken["verdicts"]):
            raise DemoFailed(f"receipts were refused: {taken['verdicts']}")

    def _challenge(self, controller: Controller, token: str) -> bytes:
        body = {"campaign": base64.b64encode(CAMPAIGN).decode()}
        key = f"challenge-{controller.serial}-{controller.receipts + 1}"
        answer: dict[str, Any] = self.stage.ask(
            "POST", "/v1/receipts/challenges", token, json=body, headers={"Idempotency-Key": key}
        )
        return base64.b64decode(answer["document"])


def build_fleet(stage: Stage, gateway: Issuer, serials: list[str], policy: Policy) -> Fleet:
    """Devices as they leave the factory: genesis set and image 2.3.0."""
    genesis = (stage.out / "trust/set-0-0.cose").read_bytes()
    image = (stage.out / "images/signed.bin").read_bytes()
    manifest = (stage.out / "trust/manifest-2.3.0.cose").read_bytes()
    digest, profile = verify_genesis(genesis).payload_sha256, class_profile(policy, CLASS)
    controllers = []
    for serial in serials:
        key = load_key(stage.work / f"{serial}.key.pem")
        identity = Identity(compute_ueid(spki_der(key.public_key())), digest)
        device = Device.birth(profile, identity, genesis, image=image, manifest=manifest)
        controllers.append(Controller(serial, key, device, random.Random(serial)))  # noqa: S311  # repeatable power cuts, no secret
    return Fleet(stage, gateway, controllers)


def load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """A device's private key. Raises DemoFailed when it is no EC key."""
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise DemoFailed(f"{path} is no EC key")
    return key


def release_of(answer: dict[str, Any]) -> Release:
    """A release as devices take it."""
    return Release(answer["manifest"], answer["image"])
