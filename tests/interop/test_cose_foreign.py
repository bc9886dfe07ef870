"""COSE as two foreign libraries see it: pycose and @auth0/cose find the same signers as `pki.trust.cose`.

Each says for each key whether a signature of the message verifies under it. Neither is asked about the whole message:
@auth0/cose accepts a COSE_Sign as soon as any one signature verifies, which is no answer about a threshold.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pki.trust.cose import parse_sign, verified_kids
from pki.trust.payloads import Payload
from tests.pki.trust.fleets import COUNTERS, DIRECTOR, MANIFEST, ROOTS, STRANGER, SoftKey, sign, sign1
from tests.pki.trust.messages import DEVICE, all_payloads, challenge, claims, counter_update, manifest

ROOT = Path(__file__).parents[2]

# Reads {"message", "keys": [{"x", "y"}]} in hex; writes for each key whether a signature by it verifies.
PYCOSE = """
import json, sys
from pycose.headers import Algorithm, KID
from pycose.keys import EC2Key
from pycose.messages import CoseMessage
asked = json.load(sys.stdin)
message = CoseMessage.decode(bytes.fromhex(asked["message"]))
assert not message.uhdr
found = []
for key in asked["keys"]:
    cose_key = EC2Key(crv="P_256", x=bytes.fromhex(key["x"]), y=bytes.fromhex(key["y"]))
    good = False
    for signer in getattr(message, "signers", [message]):
        signer.key = cose_key
        good = good or (signer.phdr[KID].hex() == key["kid"] and signer.verify_signature())
    found.append(good)
json.dump(found, sys.stdout)
"""

AUTH0 = """
import { createPublicKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { Sign, Sign1 } from "@auth0/cose";
const asked = JSON.parse(readFileSync(0, "utf8"));
const bytes = Uint8Array.from(Buffer.from(asked.message, "hex"));
const many = bytes[0] === 0xd8;
const message = many ? Sign.decode(bytes) : Sign1.decode(bytes);
const found = [];
for (const { spki } of asked.keys) {
  const key = createPublicKey({ key: Buffer.from(spki, "hex"), format: "der", type: "spki" });
  let good = false;
  for (const signature of many ? message.signatures : [message]) {
    const checked = many
      ? signature.verify(key, message.encodedProtectedHeaders, message.payload)
      : signature.verify(key);
    good = (await checked.then(() => true, () => false)) || good;
  }
  found.push(good);
}
process.stdout.write(JSON.stringify(found));
"""

COMMANDS = {
    "pycose": ([str(ROOT / ".tools/py/bin/python"), "-c", PYCOSE], ROOT),
    "@auth0/cose": (["node", "--input-type=module", "-e", AUTH0], ROOT / ".tools/node"),
}


def found_by(tool: str, message: bytes, keys: list[SoftKey]) -> list[bool]:
    command, folder = COMMANDS[tool]
    described = [
        {"x": bytes(k.key.params[1]).hex(), "y": bytes(k.key.params[2]).hex(), "kid": k.kid.hex(), "spki": k.spki.hex()}
        for k in keys
    ]
    asked = json.dumps({"message": message.hex(), "keys": described})
    done = subprocess.run(command, cwd=folder, input=asked, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found: list[bool] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("tool", COMMANDS)
@pytest.mark.parametrize(
    ("payload", "signers"),
    [(all_payloads()[0], ROOTS), (manifest(), (MANIFEST,)), (counter_update(), COUNTERS)],
    ids=["trust-set", "fw-manifest", "counter-update"],
)
def test_sign(tool: str, payload: Payload, signers: tuple[SoftKey, ...]) -> None:
    message = sign(payload, *signers)
    keys = [*signers, STRANGER]
    assert found_by(tool, message, keys) == [True] * len(signers) + [False]
    kids = verified_kids(parse_sign(message), [key.key for key in keys])
    assert kids == {signer.kid for signer in signers}


@pytest.mark.parametrize("tool", COMMANDS)
@pytest.mark.parametrize(("payload", "signer"), [(claims(), DEVICE), (challenge(), DIRECTOR)], ids=["eat", "challenge"])
def test_sign1(tool: str, payload: Payload, signer: SoftKey) -> None:
    assert found_by(tool, sign1(payload, signer), [signer, STRANGER]) == [True, False]


@pytest.mark.parametrize("tool", COMMANDS)
@pytest.mark.parametrize("make", [lambda: sign(manifest(), MANIFEST), lambda: sign1(claims(), DEVICE)])
def test_a_changed_payload_verifies_nowhere(tool: str, make: Callable[[], bytes]) -> None:
    message = make()
    place = message.index(b"u" * 16)
    broken = message[:place] + b"v" + message[place + 1 :]
    assert found_by(tool, broken, [MANIFEST, DEVICE]) == [False, False]
