"""Scenes 4 to 6 judged by imgtool, pycose, @auth0/cose and cddl-verify."""

from pathlib import Path

import pytest

from pki.trust.cose import parse_sign
from pki.trust.counters import verify_counter_update
from pki.trust.indexes import verify_index
from pki.trust.keys import CoseKey
from pki.trust.links import check_possession, verify_genesis, verify_link
from pki.trust.manifests import FirmwareManifest
from tests.api.cli.demo.conftest import ROOT, run
from tests.interop.test_cddl_foreign import accepts
from tests.interop.test_cose_foreign import COMMANDS, found_by

IMGTOOL = ROOT / ".tools/py/bin/imgtool"
RULES = {
    "set-0-0": "trust-set",
    "set-0-1": "trust-set",
    "transition-index": "transition-index",
    "birth-package": "birth-package",
    "counter-update-1": "counter-update",
    **{f"manifest-{version}": "fw-manifest" for version in ("2.3.0", "2.4.0", "2.5.0")},
}


class Named:
    """A public key as `found_by` wants it."""

    def __init__(self, key: CoseKey) -> None:
        self.key, self.kid, self.spki = key, key.thumbprint, key.to_spki()


@pytest.mark.req("RO-2", "RO-3")
def test_the_next_set_is_signed_by_old_and_new_roots(demo_out: Path) -> None:
    genesis = verify_genesis((demo_out / "trust/set-0-0.cose").read_bytes())
    message = (demo_out / "trust/set-0-1.cose").read_bytes()
    new = verify_link(genesis, message)
    check_possession(genesis, message)
    assert new.index == 1
    assert len(set(new.root.members) - set(genesis.root.members)) == 1
    assert genesis.recovery == new.recovery


@pytest.mark.parametrize("tool", list(COMMANDS))
@pytest.mark.parametrize("name", ["set-0-0", "set-0-1", "counter-update-1", "manifest-2.5.0"])
def test_foreign_libraries_find_the_signers(demo_out: Path, tool: str, name: str) -> None:
    sets = [verify_genesis((demo_out / "trust/set-0-0.cose").read_bytes())]
    sets.append(verify_link(sets[0], (demo_out / "trust/set-0-1.cose").read_bytes()))
    message = (demo_out / f"trust/{name}.cose").read_bytes()
    keys = {key.thumbprint: Named(key) for item in sets for key in item.keys}
    signers = {signature.kid for signature in parse_sign(message).signatures}
    ordered = sorted(keys)
    found = found_by(tool, message, [keys[kid] for kid in ordered])  # type: ignore[misc]
    assert {kid for kid, good in zip(ordered, found, strict=True) if good} == signers


@pytest.mark.parametrize(("name", "rule"), list(RULES.items()))
def test_payloads_are_what_the_schema_says(demo_out: Path, tmp_path: Path, name: str, rule: str) -> None:
    file = tmp_path / "payload.cbor"
    file.write_bytes(parse_sign((demo_out / f"trust/{name}.cose").read_bytes()).payload)
    assert accepts("cddl-verify", rule, file)


@pytest.mark.req("RO-2")
def test_imgtool_verifies_the_bridge_under_both_keys(demo_out: Path) -> None:
    images = demo_out / "images"
    for number in (1, 2):
        run(IMGTOOL, "verify", "-k", images / f"image-app-{number}.pub.pem", images / "transition.bin")
    run(IMGTOOL, "verify", "-k", images / "image-app-2.pub.pem", images / "after.bin")
    with pytest.raises(AssertionError):
        run(IMGTOOL, "verify", "-k", images / "image-app-1.pub.pem", images / "after.bin")


@pytest.mark.req("RO-6")
def test_index_and_counter_update_verify_under_the_new_set(demo_out: Path) -> None:
    genesis = verify_genesis((demo_out / "trust/set-0-0.cose").read_bytes())
    new = verify_link(genesis, (demo_out / "trust/set-0-1.cose").read_bytes())
    index = verify_index(new, (demo_out / "trust/transition-index.cose").read_bytes())
    assert (index.from_set, index.to_set) == (genesis.ref, new.ref)
    update = verify_counter_update(new, (demo_out / "trust/counter-update-1.cose").read_bytes())
    assert [item.floor_to for item in update.raises] == [3]
    bridge = FirmwareManifest.from_payload(parse_sign((demo_out / "trust/manifest-2.4.0.cose").read_bytes()).payload)
    assert {release.active for release in index.classes.values()} == {bridge.payload_sha256}
    assert len(bridge.component.image_keys) == 2
