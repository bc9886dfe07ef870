"""Firmware releases for CI: a decision (`ceremonies.admission`), then the image and its manifest through the door.

What the image says counts, not what the request says of it; where they differ the release is refused.
"""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from ceremonies import entries
from ceremonies.admission import (
    Ask,
    VersionTaken,
    check_facts,
    check_signed_by,
    check_size,
    find_rule,
    judge_release,
    next_sequence,
    read_version,
    refuse,
    request_id,
    reserve_names,
)
from ceremonies.claims import RequestMismatch, RequestOpen
from ceremonies.commands import Proven, ReleaseSigned, SignRelease
from ceremonies.desk import Caller
from ceremonies.errors import KeyroomError
from ceremonies.orders import Order, RequestKey, Reservation, Sealed
from ceremonies.plans import read_shown
from ceremonies.policy import ReleasePolicy
from ceremonies.rehearsals import rehearse_release
from ceremonies.room import Room
from ceremonies.store import Insert, Row
from ceremonies.tables import ReleaseRow, RequestRow
from ceremonies.trustsets import ROLES, cose_key, load_sets, newest_set, signing_keys
from ceremonies.uploads import read_artefact
from pki.errors import PkiError
from pki.formats.mcuboot import draft_image, prepare_image, read_image
from pki.formats.mcuboot_verify import verify_image
from pki.jcs import jcs
from pki.signatures import spki_sha256
from pki.trust.keys import CoseKey
from pki.trust.manifests import Component, FirmwareManifest, PayloadFormat, Segment, draft_manifest
from pki.trust.rehearsal import Release
from pki.trust.sets import Domain, RoleId, TrustSet
from pki.trust.targets import SHA256, Digest, Range, Target

T = TypeVar("T")
Recipe = Mapping[str, Any]

TRANSITION = "transition"
"""The channel whose images are signed by the old and the new image key, so that both generations boot them."""

SEGMENT_BYTES = 64 * 1024
PARTS = ("image", "manifest")


class Releases:
    """Signs releases, of one class one at a time: what was judged of a release still holds when it is recorded."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def sign(self, command: SignRelease, caller: Caller) -> ReleaseSigned:
        """Decide and sign. The same id and the same request give the same answer.

        A crash between image and manifest leaves a signed image that nobody has; the same request again completes it,
        unless a newer release or set overtook it.
        """
        body = hashlib.sha256(msgspec.msgpack.encode(command)).hexdigest()
        rule = await self._decide(command, caller, lambda: self._admit(command, caller))
        ask = Ask(command, caller, rule, body)
        async with self._turns[rule.class_name]:
            answered = await self._decide(command, caller, lambda: self._find_answered(ask))
            if answered is not None:
                image, manifest = await self._room.act(lambda: self._recall(answered))
            else:
                image = await self._seal(ask, lambda recipe: self._order_image(ask, recipe))
                manifest = await self._seal(ask, lambda recipe: self._order_manifest(ask, image, recipe))
        return ReleaseSigned(
            id=command.id,
            version=command.version,
            image=image.document,
            image_proven=Proven(image.seq, image.entry, image.proof),
            manifest=manifest.document,
            manifest_proven=Proven(manifest.seq, manifest.entry, manifest.proof),
            replayed=image.replayed and manifest.replayed,
        )

    async def _seal(self, ask: Ask, order: Callable[[Recipe | None], Order]) -> Sealed:
        """Seal what `order` makes; where a crash left the intent open, the same bytes, by the recipe kept of it."""
        try:
            return await self._room.seal(await self._decide(ask.command, ask.caller, lambda: order(None)))
        except RequestOpen as opened:
            recipe = read_shown(opened.recipe)
            return await self._room.seal(await self._decide(ask.command, ask.caller, lambda: order(recipe)))

    async def _decide(self, command: SignRelease, caller: Caller, decision: Callable[[], T]) -> T:
        """Take a decision beside the loop; a refusal is recorded with its rule before it is told."""
        try:
            return await asyncio.to_thread(decision)
        except (PkiError, KeyroomError) as error:
            what = {
                "artefact": command.artefact,
                "class": command.class_name,
                "channel": command.channel,
                "version": command.version,
            }
            refused = {**entries.refused("image.mcuboot", caller.actor, what, error), "req": command.id}
            await self._room.act(lambda: self._room.ledger.record([refused]))
            raise

    def _admit(self, command: SignRelease, caller: Caller) -> ReleasePolicy:
        claims = caller.identity.claims if caller.identity else {}
        return find_rule(self._room.door.require_governing().policy, command, claims)

    def _find_answered(self, ask: Ask) -> list[Row] | None:
        """The image's and the manifest's row of a request that was answered; None for one that was not."""
        found = [self._room.store.find(RequestRow, id=request_id(ask.command, part)) for part in PARTS]
        if any(row is not None and row["body"] != ask.body for row in found):
            hint = "use a new idempotency key"
            raise RequestMismatch(f"request {ask.command.id} was another request before", hint=hint)
        done = [row for row in found if row is not None and row["outcome"] is not None]
        return done if len(done) == len(PARTS) else None

    def _recall(self, rows: Sequence[Row]) -> list[Sealed]:
        return [self._room.ledger.recall(row["document"], row["outcome"], row["id"]) for row in rows]

    def _order_image(self, ask: Ask, recipe: Recipe | None) -> Order:
        """The image with the class's image keys, or with those of an open request, for the door."""
        command = ask.command
        image = read_image(read_artefact(self._room, command.artefact))
        class_id, vendor_id = self._ids(command)
        check_facts(command, image, (class_id, vendor_id))
        counter = command.security_version
        prepared = prepare_image(image, security_counter=counter, class_id=class_id, vendor_id=vendor_id)
        recipe = recipe or {"keys": name_keys(self._image_keys(ask))}
        keys = [key.to_spki() for key in self._keys(recipe["keys"])]
        check_size(prepared, len(keys), ask.rule)
        judge_release(self._room, ask)
        what = {
            "artefact": command.artefact, "channel": command.channel, "class": command.class_name,
            "security_version": counter, "version": command.version,
        }  # fmt: skip
        what |= {name: value for name in ("provenance", "sbom") if (value := getattr(command, name))}
        summary = f"Sign {command.class_name} {command.version} ({command.channel}), security version {counter}"
        return Order(
            draft=draft_image(prepared, keys, summary=summary, what=what),
            by=ask.caller.actor,
            name=f"{command.class_name}-{command.version}",
            request=RequestKey(request_id(command, "image"), ask.body, jcs(dict(recipe))),
            reserve=reserve_names(self._room, ask),
            inspect=lambda document: [verify_image(document, [key]) for key in keys],  # as the bootloader will
        )

    def _order_manifest(self, ask: Ask, image: Sealed, recipe: Recipe | None) -> Order:
        """The manifest under the newest set. A crash after its intent leaves its sequence number spent, and no row."""
        command, rule, newest = ask.command, ask.rule, newest_set(self._room.store)
        keys = self._image_keys(ask)
        check_signed_by(image.document, keys)
        recipe = recipe or self._draw(ask, newest)
        check_newest(newest, recipe["set"])
        manifest = self._manifest(ask, newest, image.document, recipe, keys)
        busy = VersionTaken("another release took this sequence number", hint="send the same request again")
        row = {
            "id": command.id, "class_name": command.class_name, "channel": command.channel, "component": rule.component,
            "version": command.version, "security_version": command.security_version, "sequence": recipe["sequence"],
            "image": image.sha256, "set_index": newest.index, "manifest_payload": manifest.payload_sha256.hex(),
        }  # fmt: skip
        return Order(
            draft=draft_manifest(newest, manifest, self._keys(recipe["signers"])),
            by=ask.caller.actor,
            name=f"manifest-{command.class_name}-{command.version}",
            request=RequestKey(request_id(command, "manifest"), ask.body, jcs(dict(recipe))),
            reserve=(Reservation(f"sequence:{ask.lane}:{recipe['sequence']}", busy),),
            inspect=lambda document: self._inspect(ask, newest, Release(document, image.document)),
            changes=lambda sealed: [Insert(ReleaseRow, {**row, "manifest": sealed.sha256})],
        )

    def _inspect(self, ask: Ask, newest: TrustSet, release: Release) -> None:
        """On the writer's thread, where no set can come in between: a device takes and starts it (S4, S9)."""
        check_newest(newest_set(self._room.store), newest.index)
        rehearse_release(self._room, ask.rule, release)

    def _image_keys(self, ask: Ask) -> list[CoseKey]:
        """One image key of the newest set; for a transition one of the set before it too (docs/adr/0007)."""
        sets = [item for item, _ in load_sets(self._room.store)]
        class_id = self._ids(ask.command)[0]
        chosen = sets[-2:] if ask.rule.channel == TRANSITION else sets[-1:]
        if ask.rule.channel == TRANSITION and len(sets) < 2:
            raise refuse("transition", "one trust set", "a set that follows another", "publish the next set first")
        found: dict[bytes, CoseKey] = {}
        # The key that devices hold now comes last: a bootloader that tries only the last signature still boots it.
        for item in reversed(chosen):
            group = item.group(ROLES[ask.rule.image_role], class_id=class_id, domain=ask.rule.component)
            for key in signing_keys(self._room.store, self._room.door.keyring, group, 1):
                found.setdefault(key.thumbprint, key)
        return list(found.values())

    def _ids(self, command: SignRelease) -> tuple[bytes, bytes]:
        fleet = self._room.door.require_governing().policy.fleet
        return fleet.class_id(command.class_name), fleet.vendor_id

    def _keys(self, names: Sequence[str]) -> list[CoseKey]:
        return [cose_key(self._room.store, name) for name in names]

    def _draw(self, ask: Ask, newest: TrustSet) -> Recipe:
        """What the manifest's bytes follow from: id, sequence number, the set, the keys that sign."""
        room = self._room
        group = newest.group(RoleId.MANIFEST_SIGNER, class_id=self._ids(ask.command)[0], domain=ask.rule.component)
        signers = name_keys(signing_keys(room.store, room.door.keyring, group))
        drawn = {"id": room.surroundings.entropy(16).hex(), "sequence": next_sequence(room.store, ask)}
        return {**drawn, "set": newest.index, "signers": signers}

    def _manifest(
        self, ask: Ask, newest: TrustSet, image: bytes, recipe: Mapping[str, Any], keys: Sequence[CoseKey]
    ) -> FirmwareManifest:
        class_id, vendor_id = self._ids(ask.command)
        component = Component(
            component=Domain(ask.rule.component),
            version=read_version(ask.command.version),
            security_version=ask.command.security_version,
            size=len(image),
            digest=sha256_digest(image),
            segments=tuple(split_segments(image)),
            format=PayloadFormat.MCUBOOT,
            image_keys=tuple(sorted(key.thumbprint for key in keys)),
        )
        return FirmwareManifest(
            fleet=newest.fleet,
            manifest_id=bytes.fromhex(recipe["id"]),
            sequence=recipe["sequence"],
            set_ref=newest.ref,
            target=Target(vendor=vendor_id, class_id=class_id, revisions=ask.rule.hardware),
            component=component,
            bootloader=Range((0,)),
        )


def check_newest(newest: TrustSet, index: int) -> None:
    """A release is made under the newest set. Raises ReleaseRefused for another index."""
    if newest.index != index:
        raise refuse("trust-set", f"index {index}", f"the newest, {newest.index}", "release a higher version")


def name_keys(keys: Sequence[CoseKey]) -> list[str]:
    """The names (spki) of keys, in order."""
    return [spki_sha256(key.to_spki()) for key in keys]


def split_segments(image: bytes) -> list[Segment]:
    """Parts that a device can check as they arrive."""
    parts = range(0, len(image), SEGMENT_BYTES)
    return [Segment(at, len(part := image[at : at + SEGMENT_BYTES]), sha256_digest(part)) for at in parts]


def sha256_digest(data: bytes) -> Digest:
    """A SHA-256 digest as manifests hold it."""
    return Digest(SHA256, hashlib.sha256(data).digest())
