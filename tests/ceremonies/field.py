"""Simulated controllers in the field of a world, what CI sends, and rotations: the players around releases."""

import hashlib
import json
import secrets
from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from ceremonies import commands
from ceremonies.commands import Problem, ReleaseSigned, SignRelease
from ceremonies.hardware import class_profile
from pki.log.leaves import Leaf
from pki.trust.device import Device
from pki.trust.device_profile import Identity
from pki.trust.drafts import draft_sign1
from pki.trust.keys import CoseKey
from pki.trust.links import verify_genesis
from pki.trust.receipts import ReceiptClaims, compute_ueid
from pki.trust.rehearsal import Bundle, Release, follow
from tests.pki.formats.mcuboot_images import build_image
from tests.world import CLASS, World, issue_device, make_request, plan_set

CAMPAIGN = b"campaign-0000001"
BODY = b"firmware" * 64


def make_image(version: str, body: bytes = BODY) -> bytes:
    """An unsigned image of a version."""
    major, minor, revision = (int(part) for part in version.split("."))
    return build_image(body=body, version=(major, minor, revision, 0))


async def upload(world: World, image: bytes) -> str:
    """Upload an artefact whole; its digest."""
    digest = hashlib.sha256(image).hexdigest()
    await world.ask(commands.Upload(digest, 0, image, True), "pipeline", commands.Uploaded)
    return digest


async def ask_release(world: World, version: str, security_version: int, **changes: Any) -> SignRelease:
    """A request for an uploaded image; `changes` replace fields of the request, `image` the image."""
    digest = await upload(world, changes.pop("image", None) or make_image(version))
    fields: dict[str, Any] = {
        "id": f"release-{version}", "class_name": CLASS, "channel": "stable", "version": version,
        "security_version": security_version, "artefact": digest, **changes,
    }  # fmt: skip
    return SignRelease(**fields)


async def sign_release(world: World, version: str, security_version: int, **changes: Any) -> ReleaseSigned:
    """A signed release."""
    return await world.ask(await ask_release(world, version, security_version, **changes), "pipeline", ReleaseSigned)


async def refuse_release(world: World, version: str, security_version: int, **changes: Any) -> Problem:
    """The problem that answers a request."""
    answer = await world.try_ask(await ask_release(world, version, security_version, **changes), "pipeline")
    assert isinstance(answer, Problem), answer
    return answer


def rotation_plan(image: str = "image-app-2", **changes: Any) -> dict[str, Any]:
    """The plan of set (0, 1): one new oem-root member and a new image key."""
    keys = [{"label": "oem-root-4", "role": "oem-root", "algorithm": "p256", "token": "kedge-main"}]
    keys += [{"label": image, "role": "image-app", "algorithm": "p256", "token": "kedge-main", "scope": CLASS}]
    signers = ["oem-root-2", "oem-root-3"]
    return {"keys": keys, "trust_set": plan_set((2, 3, 4), image), "signers": signers, **changes}


async def list_sets(world: World, start: int = 0) -> tuple[bytes, ...]:
    """The signed sets from an index on."""
    listed = await world.ask(commands.ListTrustSets(start), "", commands.DocumentsListed)
    return tuple(document for _, _, document in listed.documents)


class Controller:
    """A simulated device with its identity key and its serial."""

    def __init__(self, serial: str, key: ec.EllipticCurvePrivateKey, device: Device) -> None:
        self.serial = serial
        self.key = key
        self.device = device

    @property
    def spki(self) -> bytes:
        """DER SubjectPublicKeyInfo of the identity key."""
        return spki_of(self.key)

    def fork(self) -> "Controller":
        """The same controller with its memory as it is now: a clone, or what a backup brings back."""
        hardware = self.device.hardware
        device = Device(hardware.profile, hardware.identity, self.device.memory)
        device.boot()
        return Controller(self.serial, self.key, device)

    def sign(self, claims: ReceiptClaims, key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
        """A receipt, whatever it claims."""
        private = key or self.key
        signer = CoseKey.from_spki(spki_of(private))
        draft = draft_sign1(claims, signer, summary="a receipt", what={}, check=lambda _: None)
        (item,) = draft.to_sign
        r, s = decode_dss_signature(private.sign(item.data, ec.ECDSA(hashes.SHA256())))
        return draft.assemble({item.spki: r.to_bytes(32, "big") + s.to_bytes(32, "big")})

    async def claim(self, world: World) -> ReceiptClaims:
        """What it says when it is asked now."""
        return self.device.receipt(await open_challenge(world))

    async def report(self, world: World) -> bytes:
        """A signed receipt for a fresh challenge."""
        return self.sign(await self.claim(world))


def spki_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    """DER SubjectPublicKeyInfo."""
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


async def open_challenge(world: World, campaign: bytes = CAMPAIGN) -> bytes:
    """A fresh challenge."""
    command = commands.OpenChallenge(f"challenge-{secrets.token_hex(8)}", campaign)
    return (await world.ask(command, "gateway", commands.DocumentRead)).document


async def submit(world: World, *receipts: bytes) -> tuple[str, ...]:
    """The verdicts on receipts."""
    taken = await world.ask(commands.SubmitReceipts(receipts), "gateway", commands.ReceiptsTaken)
    return taken.verdicts


async def make_controllers(world: World, numbers: Sequence[int], release: ReleaseSigned | None) -> list[Controller]:
    """Devices issued under wo-1, born with a release."""
    made = []
    for number in numbers:
        key = ec.generate_private_key(ec.SECP256R1())
        await issue_device(world, number, make_request(key))
        made.append(await make_controller(world, f"BMS-{number:06}", key, release))
    return made


async def make_controller(
    world: World, serial: str, key: ec.EllipticCurvePrivateKey, release: ReleaseSigned | None
) -> Controller:
    """A device that has its certificate, born with a release."""
    genesis = (await list_sets(world))[0]
    identity = Identity(compute_ueid(spki_of(key)), verify_genesis(genesis).payload_sha256)
    image, manifest = (release.image, release.manifest) if release else (b"", b"")
    device = Device.birth(class_profile(world.policy, CLASS), identity, genesis, image=image, manifest=manifest)
    return Controller(serial, key, device)


async def move(world: World, controllers: Sequence[Controller], release: ReleaseSigned, start: int = 1) -> None:
    """Devices take the sets from an index on and a release into both slots, and report."""
    taken = Release(release.manifest, release.image)
    for controller in controllers:
        follow(controller.device, Bundle(sets=await list_sets(world, start), active=taken, fallback=taken))
    assert set(await submit(world, *[await c.report(world) for c in controllers])) == {""}


async def propose(world: World, name: str, action: str, plan: dict[str, Any]) -> commands.AnyResult | Problem:
    """Propose a ceremony, whatever comes of it."""
    return await world.try_ask(commands.OpenCeremony(name, action, json.dumps(plan).encode()), "officer")


async def execute(world: World, name: str, step: str) -> commands.AnyResult | Problem:
    """Execute a step, whatever comes of it."""
    return await world.try_ask(commands.ExecuteStep(name, step), "officer")


def problem(answer: object) -> Problem:
    """The answer is a refusal."""
    assert isinstance(answer, Problem), answer
    return answer


def read_leaves(world: World) -> list[Leaf]:
    """Every entry of the journal so far."""
    size = world.room.ledger.journal.size
    return [world.room.ledger.read_entry(seq)[1] for seq in range(size)]


def count_rules(leaves: Sequence[Leaf], rule: str) -> int:
    """How many refusals by this rule the journal names."""
    return sum(1 for leaf in leaves if leaf.out and leaf.out.status == "denied" and rule in str(leaf.out.why))
