"""Scenes 4 to 6: the next trust set, the fleet moves, the old keys go."""

import base64
import json
from typing import Final

from api.cli.demo.fleet import Controller, Fleet, release_of
from api.cli.demo.origins import Pipeline, write_public_key
from api.cli.demo.people import Officers
from api.cli.demo.plans import CLASS, DOMAIN_APP, key, set_plan
from api.cli.demo.stage import DemoFailed, Stage
from pki.trust.device import Device
from pki.trust.device_memory import BANKS, Slot
from pki.trust.rehearsal import Bundle, Release

LEAVING: Final = ("image-app-1", "oem-root-1")
SOAK_S: Final = 600


def rotate(stage: Stage, officers: Officers, pipeline: Pipeline) -> Bundle:
    """Scene 4: set (0, 1) with one new root and a new image key, and the release that carries a fleet there."""
    plan = {
        "keys": [key("oem-root-4", "oem-root"), key("image-app-2", "image-app", scope=CLASS)],
        "trust_set": set_plan((2, 3, 4), "image-app-2"),
        "signers": ["oem-root-2", "oem-root-3"],
    }
    shown = officers.hold("rotation-1", "trust-set", plan)
    next_set = officers.document(shown, "set-0-1")
    stage.write("trust/set-0-1.cose", next_set)
    write_public_key(stage, stage.ask("GET", "/v1/keys", officers.token())["keys"], "image-app-2")
    stage.note(
        "rotation", "trust set (0, 1): signed by two old roots and by every new root, approved by 2 of 3 officers"
    )
    bridge = pipeline.sign("2.4.0", 3, "transition")
    stage.write("images/transition.bin", bridge["image"])
    shown = officers.hold("transition-1", "transition", {"release": bridge["id"], "start": 0})
    stage.write("trust/transition-index.cose", officers.document(shown, "transition-index"))
    stage.note(
        "rotation", "image 2.4.0 signed by the old and the new image key; transition index, rehearsed with power cuts"
    )
    release = release_of(bridge)
    return Bundle(sets=(next_set,), active=release, fallback=release)


def move_fleet(stage: Stage, officers: Officers, fleet: Fleet, bundle: Bundle) -> None:
    """Scene 5: all but one controller move; the gate holds the old keys back. Returns the sleeper's serial."""
    sleeper = fleet.controllers[-1].serial
    fleet.report(but=sleeper)
    cuts = fleet.move(bundle, but=sleeper)
    fleet.report(but=sleeper)
    stage.note(
        "devices",
        f"{len(fleet.controllers) - 1} controllers moved to set (0, 1) through {cuts} power cuts, receipts signed",
    )
    plan = {"labels": list(LEAVING), "reason": "rotated out by set (0, 1)"}
    body = {"id": "retire-early", "action": "destroy", "plan": base64.b64encode(json.dumps(plan).encode()).decode()}
    response = stage.request("POST", "/v1/ceremonies", officers.token(), json=body)
    stage.expect_refusal("destroying the old keys while one controller sleeps", response, 409, "gate-closed")


def finish(stage: Stage, officers: Officers, pipeline: Pipeline, fleet: Fleet, bundle: Bundle) -> None:
    """Scene 6: 2.5.0 by the new key alone, the sleeper catches up, the floor rises, the leaving keys are destroyed."""
    after = pipeline.sign("2.5.0", 4)
    stage.write("images/after.bin", after["image"])
    stage.note("after", "image 2.5.0 signed by the new image key alone")
    sleeper = fleet.controllers[-1]
    sleeper.follow(bundle)
    stage.note("after", f"{sleeper.serial} slept through everything, walked the chain and caught up in one go")
    release = release_of(after)
    fleet.move(Bundle(active=release, fallback=release))
    fleet.report()
    plan = {"class_name": CLASS, "domain": DOMAIN_APP, "floor_from": 2, "floor_to": 3, "confirmed": 2, "soak": SOAK_S}
    shown = officers.hold("counter-1", "counter-update", plan)
    update = officers.document(shown, "counter-update-1")
    stage.write("trust/counter-update-1.cose", update)
    cuts = fleet.move(Bundle(counter_updates=(update,), soak=SOAK_S))
    fleet.report()
    stage.note("after", f"floor raised to 3 by two counter keys, taken by all controllers through {cuts} power cuts")
    officers.hold("retire-1", "destroy", {"labels": list(LEAVING), "reason": "rotated out by set (0, 1)"})
    states = {item["label"]: item["state"] for item in stage.ask("GET", "/v1/keys", officers.token())["keys"]}
    stage.note(
        "after", f"the gate held; destroyed: {', '.join(label for label in LEAVING if states[label] == 'destroyed')}"
    )
    try_devices(stage, fleet.controllers[0], bundle)


def try_devices(stage: Stage, controller: Controller, bundle: Bundle) -> None:
    """What a controller refuses from now on."""
    genesis = (stage.out / "trust/set-0-0.cose").read_bytes()
    old = Release(
        (stage.out / "trust/manifest-2.3.0.cose").read_bytes(), (stage.out / "images/signed.bin").read_bytes()
    )
    bridge = bundle.active or old
    controller.try_refused(
        stage, "a release signed only by the old key", lambda it: it.install(old.manifest, old.image)
    )
    controller.try_refused(stage, "the release before its own", lambda it: it.install(bridge.manifest, bridge.image))
    try_old_set(stage, controller, genesis)
    try_adversary(stage, controller, old, genesis)


def install(release: Release, device: Device) -> object:
    """Offer a release to a device."""
    return device.install(release.manifest, release.image)


def try_old_set(stage: Stage, controller: Controller, genesis: bytes) -> None:
    """The old set again changes nothing (D6); even written into a bank it lies below the floor of counter 0."""
    before, newest = controller.device.memory, controller.device.view.newest
    if controller.device.receive_sets([genesis]) != newest or controller.device.memory != before:
        raise DemoFailed(f"{controller.serial} took the old trust set")
    stage.refuse("device: the old trust set", "replay-changes-nothing")
    forged = controller.copy()
    forged.hardware.write_bank(BANKS - 1, genesis)
    if newest != forged.view.newest or len(forged.view.sets) != 1:
        raise DemoFailed(f"{controller.serial} counts a set below its floor")
    stage.refuse("device: the old trust set, written into a bank", "below-trust-floor")


def try_adversary(stage: Stage, controller: Controller, old: Release, genesis: bytes) -> None:
    """Whoever writes external flash: neither an old image nor a trust set there counts for anything."""
    slots = {
        "an image signed only by the old key, below the floor": Slot(old.image, old.manifest, confirmed=True),
        "a trust set": Slot(genesis, genesis, confirmed=True),
    }
    for what, slot in slots.items():
        forged = controller.copy()
        number = forged.boot()
        forged.hardware.write_slot(number, slot)
        if forged.boot() == number or forged.view.newest != controller.device.view.newest:
            raise DemoFailed(f"{controller.serial} took {what} from external flash")
        stage.refuse(f"device: {what}, written into external flash by an adversary", "slot-does-not-boot")
