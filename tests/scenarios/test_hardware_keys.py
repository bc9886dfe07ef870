"""Units with TPMs, on software TPMs with the TPM2 project's tools and swtpm's own CA: programs that know nothing of
Kedge make the keys, open the credentials and sign the requests.
"""

import asyncio
import re
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ceremonies.commands import (
    ActivateTpm,
    ChallengeTpm,
    DeviceIssued,
    IssueDevice,
    Problem,
    TpmActivated,
    TpmChallenged,
)
from pki.elements.areas import read_area
from pki.elements.credentials import Credential, make_credential
from pki.elements.endorsements import EndorsementKey
from tests.api.houses import House, open_house
from tests.ceremonies.protected import FOUNDRY, ORDERS, TPM, make_protected, prepare_protected, serial_of, station
from tests.makers import make_key, write_area
from tests.tpms import DEVICE_KEY, LocalCa, ToolFailed, Tpm, running_tpm
from tests.world import World, audit_world, copy_world

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "elements.md"


@pytest.fixture(scope="module")
def tpm() -> Iterator[Tpm]:
    with running_tpm() as found:
        yield found


def make_for(key: EndorsementKey, name: bytes) -> tuple[Credential, bytes]:
    secret = secrets.token_bytes(32)
    return make_credential(key, name, secret, secrets.token_bytes(64)), secret


@pytest.mark.req("CA-2")
@pytest.mark.parametrize("kind", ["rsa", "ecc"])
def test_a_tpm_gives_the_secret_for_the_key_that_it_holds_and_for_no_other(tpm: Tpm, kind: str) -> None:
    key = tpm.make_ek(kind)
    held, other = (read_area(tpm.make_key(f"{name}-{kind}")) for name in ("held", "other"))
    credential, secret = make_for(key, held.name)
    assert tpm.activate(credential, kind, f"held-{kind}") == secret
    with pytest.raises(ToolFailed, match="integrity check failed"):
        tpm.activate(credential, kind, f"other-{kind}")
    foreign, _ = make_for(make_key().public_key(), held.name)  # for the endorsement key of another TPM
    with pytest.raises(ToolFailed):
        tpm.activate(foreign, kind, f"held-{kind}")
    assert tpm.activate(make_for(key, other.name)[0], kind, f"other-{kind}")


@pytest.mark.req("CA-2")
def test_a_tpm_gives_nothing_for_a_soft_key_whose_attributes_are_made_up(tpm: Tpm) -> None:
    """The public half of any key can be loaded, with any attributes; where a private half is asked it is no use."""
    key, soft = tpm.make_ek("rsa"), make_key()
    attributes = int.from_bytes(tpm.make_key("true")[6:10], "big")
    area = write_area(soft, attributes)
    (tpm.path / "soft.pub").write_bytes(area)
    tpm.run("loadexternal", "-C", "n", "-u", "soft.pub", "-c", "soft.ctx")
    with pytest.raises(ToolFailed, match="not available"):
        tpm.activate(make_for(key, read_area(area).name)[0], "rsa", "soft")


class Unit:
    """A unit with a TPM, on the line."""

    def __init__(self, world: World, tpm: Tpm, ca: LocalCa) -> None:
        self.world, self.tpm, self.ca = world, tpm, ca
        self.token = station(world, TPM)

    async def challenge(self, number: int, area: bytes, endorsement: bytes, chain: tuple[bytes, ...]) -> str:
        """The challenge's name, with its credential in the TPM's hands; or the code of a refusal."""
        command = ChallengeTpm(ORDERS[TPM], serial_of(number), endorsement, area, chain)
        given = await self.world.try_ask(command, token=self.token)
        if isinstance(given, Problem):
            return given.code
        assert isinstance(given, TpmChallenged)
        self.credential = Credential(given.blob, given.seed)
        return given.challenge

    async def certify(self, number: int, kind: str) -> DeviceIssued:
        """From a new key in the TPM to the unit's certificate."""
        name, order = f"unit-{number}", ORDERS[TPM]
        endorsement, area = self.ca.endorse(self.tpm.make_ek(kind)), self.tpm.make_key(name)
        challenge = await self.challenge(number, area, endorsement, (self.ca.issuer.read_bytes(),))
        secret = self.tpm.activate(self.credential, kind, name)
        answer = ActivateTpm(order, serial_of(number), challenge, secret)
        await self.world.ask(answer, "", TpmActivated, self.token)
        request = IssueDevice(order, serial_of(number), self.tpm.request(read_area(area), name))
        return await self.world.ask(request, "", DeviceIssued, self.token)


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory, tpm: Tpm) -> tuple[World, LocalCa]:
    """A stopped world whose policy pins swtpm's own CA, and that CA. Copy the world; never start it."""
    path = tmp_path_factory.mktemp("plant")
    ca = LocalCa(path / "maker")
    ca.endorse(tpm.make_ek("rsa"))  # it makes itself with its first certificate
    world = make_protected(path / "world", ca.root.read_text()).start()
    asyncio.run(prepare_protected(world))
    asyncio.run(world.open_order("wo-7", class_name=TPM, prefix="GW-", last=500))
    world.stop()
    return world, ca


@pytest.mark.req("CA-1", "CA-2")
def test_from_a_key_in_a_tpm_to_its_certificate(tpm: Tpm, plant: tuple[World, LocalCa], tmp_path: Path) -> None:
    template, ca = plant
    world, stranger, key = (
        copy_world(template, tmp_path / "world").start(),
        LocalCa(tmp_path / "other"),
        tpm.make_ek("rsa"),
    )
    unit = Unit(world, tpm, ca)

    async def play() -> list[str]:
        for number, kind in ((1, "rsa"), (2, "ecc")):
            assert (await unit.certify(number, kind)).certificate.startswith(b"-----BEGIN CERTIFICATE")
        good, endorsement = tpm.make_key("good"), ca.endorse(key)
        chain = (ca.issuer.read_bytes(),)
        roams = tpm.make_key("roams", DEVICE_KEY.replace("fixedtpm|fixedparent|", ""))
        foreign = stranger.endorse(key)
        return [
            await unit.challenge(3, roams, endorsement, chain),
            await unit.challenge(3, good, foreign, (stranger.issuer.read_bytes(),)),
            await unit.challenge(3, good, endorsement, ()),
            await unit.challenge(3, good, endorsement, chain),
        ]

    codes = ["tpm-area-refused", "element-path-refused", "element-path-refused", "element-taken"]
    assert asyncio.run(play()) == codes
    assert asyncio.run(audit_world(world)).verdict == "authenticated"
    world.stop()


def follow_page(house: House, tpm: Tpm) -> list[str]:
    """The commands of docs/elements.md, in a shell beside the TPM: the first block as an officer, then as a station.
    What stays loaded is flushed after each tool, as a resource manager does.
    """
    tools = "createek createprimary create load startauthsession policysecret activatecredential"
    flushed = 'eval "tpm2_$t() { command tpm2_$t \\"\\$@\\" && command tpm2_flushcontext -t; }"'
    flushing = f"for t in {tools}; do {flushed}; done\n"
    head = f'kedge() {{ "{sys.executable}" -m api.cli.main "$@"; }}\n{flushing}'
    tokens = (house.world.role_token("officer"), station(house.world, TPM))
    told = []
    for block, token in zip(re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL), tokens, strict=True):
        (tpm.path / "token").write_text(token)
        environment = {"KEDGE_URL": house.served.url, "KEDGE_TOKEN_FILE": "token", "PYTHONPATH": str(ROOT)}
        told.append(tpm.shell(head + block, COLUMNS="200", **environment))
    return told


def test_the_page_is_true(plant: tuple[World, LocalCa], tmp_path: Path) -> None:
    template, ca = plant
    with running_tpm() as tpm, open_house(copy_world(template, tmp_path / "world").start()) as house:
        (tpm.path / "manifest.json").write_bytes(FOUNDRY.deliver(make_key(), make_key()))
        (tpm.path / "ek.cert.der").write_bytes(ca.endorse(tpm.make_ek("rsa")))
        (tpm.path / "maker-ca.der").write_bytes(ca.issuer.read_bytes())
        delivery, unit = follow_page(house, tpm)
        assert "2 x ATECC608B-TFLXTLSS" in delivery
        assert "delivery-2026-11" in delivery
        assert "GW-000417: key" in unit
        listed = house.send("GET", "/v1/elements", "auditor").json()["elements"]
        assert [(item["kind"], item["serial"]) for item in listed] == [("tpm", "GW-000417")]
