"""A keyroom with its people around it, in one process: officers with SSH keys, a token issuer, devices, the desk.

Nothing of the keyroom is replaced but, where a test asks for it, the tokens (tests/softbox.py).
"""

import json
import secrets
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, cast

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ceremonies import commands
from ceremonies.approvals import parse_template, statement_bytes
from ceremonies.commands import AnyCommand, AnyResult, CeremonyShown, Problem, Request
from ceremonies.desk import Desk
from ceremonies.devices import Devices
from ceremonies.fleet import DeviceClass, Fleet
from ceremonies.handlers import handlers
from ceremonies.officers import Officer, Roster
from ceremonies.policy import Grant, Issuer, KeysInline, Policy, Quorum, ReleasePolicy
from ceremonies.process import build_room, surroundings
from ceremonies.room import Room
from ceremonies.settings import KeyroomSettings, TokenPlace
from ceremonies.surroundings import Surroundings
from hsm.series import Box
from hsm.strongbox import Strongbox
from pki.log.audit import audit_journal
from pki.log.policy import parse_policy
from pki.log.reports import Report
from tests.ceremonies.issuer_keys import make_signer
from tests.ceremonies.ssh_keys import OfficerKey, make_key
from tests.postgres import Database
from tests.softbox import Softbox
from tests.softhsm import find_module, fresh_strongbox, open_tokens

R = TypeVar("R")

CLASS = "bms-stm32h7"
PLANT = "graz"
SITE = "hornsea-1"
AUDIENCE = "https://kedge.example"
ISSUER = "https://issuer.example"
REPOSITORY = {"repository_id": "4711", "environment": "release"}
ARC = "1.3.6.1.4.1.32473"  # the enterprise number for examples (RFC 5612)
FLEET = Fleet(
    "7b0f9d1e-93a4-4c55-8a39-0f3b4a6c2d10",
    "acme.example",
    (DeviceClass(CLASS, "stm32h7-atecc608b", f"{ARC}.1"),),
    arc=ARC,
    test_root=True,
)
TOKENS = {"kedge-main": (), "kedge-journal": ("journal",), "kedge-recovery": ("recovery",)}
MAIN_ROLES = (
    "identity-root",
    "device-ca",
    "site-ca",
    "service-ca",
    "oem-root",
    "manifest-signer",
    "image-app",
    "counter",
    "director",
    "ocsp",
    "cmp",
)
KINDS = (
    "key.generate", "key.active", "key.destroy", "work-order", "trust-set", "counter-update", "transition-index",
    "birth-package", "certificate.identity-root", "certificate.device-ca", "certificate.site-ca",
    "certificate.service-ca", "policy.change", "log.key.rotate", "log.recover", "station.enrol", "station.resume",
    "certificate.revoke", "certificate.ocsp-responder", "key.deactivated", "baseline", "register-import",
    "elements-import", "certificate.root-link", "certificate.switch", "certificate.cmp-responder", "quota-grant",
    "grant.import",
)  # fmt: skip
UNATTENDED = (
    "certificate.idevid",
    "certificate.ieee2030-5-device",
    "certificate.ldevid",
    "certificate.station-tls",
    "image.mcuboot",
    "fw-manifest",
    "challenge",
    "crl",
)


class RefusedError(AssertionError):
    """The desk answered with a problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.code}: {problem.message}")
        self.problem = problem
        self.code = problem.code


def plan_keys() -> list[dict[str, str]]:
    """The keys of genesis."""
    keys = [("identity-root", "identity-root", "p384", "kedge-main", "")]
    one = ("device-ca", "site-ca", "service-ca", "manifest-signer", "director")
    keys += [(role, role, "p256", "kedge-main", "") for role in one]
    keys += [(f"oem-root-{n}", "oem-root", "p256", "kedge-main", "") for n in (1, 2, 3)]
    keys += [(f"recovery-{n}", "recovery", "p256", "kedge-recovery", "") for n in (1, 2, 3)]
    keys += [(f"counter-{n}", "counter", "p256", "kedge-main", CLASS) for n in (1, 2)]
    keys += [
        ("image-app-1", "image-app", "p256", "kedge-main", CLASS),
        ("probe", "probe", "p256", "kedge-main", ""),
        ("ocsp", "ocsp", "p256", "kedge-main", "device-ca"),
        ("journal", "journal", "ed25519", "kedge-journal", ""),
    ]
    fields = ("label", "role", "algorithm", "token", "scope")
    return [{name: value for name, value in zip(fields, key, strict=True) if value} for key in keys]


def plan_set(roots: tuple[int, ...] = (1, 2, 3), image: str = "image-app-1") -> dict[str, Any]:
    """A trust set by labels."""
    return {
        "roles": {
            "oem-root": [{"threshold": 2, "labels": [f"oem-root-{n}" for n in roots]}],
            "manifest-signer": [{"threshold": 1, "labels": ["manifest-signer"]}],
            "image-app": [{"threshold": 1, "labels": [image], "class_name": CLASS}],
            "counter": [{"threshold": 2, "labels": ["counter-1", "counter-2"], "class_name": CLASS}],
            "director": [{"threshold": 1, "labels": ["director"]}],
        },
        "recovery": {"threshold": 2, "labels": ["recovery-1", "recovery-2", "recovery-3"]},
        "limits": [{"class_name": CLASS, "domain": 2, "max_step": 8, "maximum": 1000}],
    }


class World:
    """One keyroom and everyone who talks to it."""

    def __init__(
        self,
        path: Path,
        strongbox: Callable[[], Box],
        around: Surroundings | None = None,
        database: Database | None = None,
    ) -> None:
        self.path = path
        self.database = database
        self.strongbox = strongbox
        self.around = around or surroundings()
        self.issuer = make_signer()
        self.officers: dict[str, OfficerKey] = {name: make_key() for name in ("alice", "bob", "carol")}
        self.roster = Roster(
            tuple(Officer(name, f"officer {name}", (key.line,), ("officer",)) for name, key in self.officers.items())
        )
        self.policy = make_policy(self.issuer.jwk)
        self.witnesses = "quorum none\n"
        self.room: Room
        self.desk: Desk
        self.stopped = True
        self.readers = 0

    def settings(self) -> KeyroomSettings:
        """The settings of this keyroom."""
        return KeyroomSettings(
            origin="kedge.example/journal", node="keyroom-1", data=self.path / "data", public=self.path / "public",
            socket=self.path / "keyroom.sock", module=find_module(), tokens=place_tokens(self.path),
            roster_sha256=self.roster.digest, readers=self.readers, witnesses=self.witnesses,
            database=self.database.url if self.database else "",
        )  # fmt: skip

    def start(self, settings: KeyroomSettings | None = None) -> "World":
        """Build the keyroom on what is on disk."""
        self.room = build_room(settings or self.settings(), self.around, self.strongbox)
        self.stopped = False
        self.desk = Desk(self.room, handlers(self.room), Devices(self.room).identify)
        return self

    def stop(self) -> None:
        """End the keyroom without a word: what is durable stays. A second call does nothing."""
        if self.stopped:
            return
        self.stopped = True
        self.room.writer.run_now(self.room.door.strongbox.close)
        self.room.writer.stop()
        self.room.readers.close()
        self.room.store.close()

    def token(self, role: str, **claims: Any) -> str:
        """A token of the issuer for a role."""
        now = self.around.now_us() // 1_000_000
        body = {
            "iss": ISSUER, "aud": AUDIENCE, "sub": f"{role}-1", "jti": secrets.token_hex(8), "role": role,
            "iat": now, "nbf": now, "exp": now + 300, **claims,
        }  # fmt: skip
        return jwt.encode(body, self.issuer.private, "ES256", {"kid": self.issuer.kid})

    def role_token(self, role: str) -> str:
        """A token with the bindings that the role usually has."""
        usual: dict[str, dict[str, Any]] = {
            "station": {"plant": PLANT, "class": CLASS},
            "pipeline": dict(REPOSITORY),
            "officer": {"officer": "alice"},
            "operator": {"plant": PLANT, "site": SITE},
        }
        return self.token(role, **usual.get(role, {}))

    async def try_ask(self, command: AnyCommand, role: str = "", token: str = "") -> AnyResult | Problem:
        """Ask the desk; `local` for a role of the keyroom's own user."""
        given = token or ("" if role in ("", "local") else self.role_token(role))
        request = Request(1, command, given, "192.0.2.7")
        return await self.desk.answer(request, local=role == "local")

    async def ask(self, command: AnyCommand, role: str, result: type[R], token: str = "") -> R:
        """Ask the desk; a problem fails the test."""
        answer = await self.try_ask(command, role, token)
        if isinstance(answer, Problem):
            raise RefusedError(answer)
        assert isinstance(answer, result)
        return answer

    async def approve(self, name: str, step: str, *officers: str, decision: str = "approve") -> None:
        """Officers sign the statement of a step."""
        shown = await self.ask(commands.ShowCeremony(name), "local", CeremonyShown)
        template = next(item.template for item in shown.steps if item.step == step)
        for officer in officers:
            statement = statement_bytes(parse_template(template), officer, cast(Any, decision))
            signature = self.officers[officer].sign(statement).encode()
            await self.ask(commands.DecideStep(name, step, statement, signature), "officer", CeremonyShown)

    async def genesis(self) -> CeremonyShown:
        """Hold the genesis ceremony."""
        plan = json.dumps(self.genesis_plan()).encode()
        await self.ask(commands.OpenGenesis("genesis", plan), "local", CeremonyShown)
        return await self.carry_out("genesis", "alice", "bob", "carol", role="local")

    def genesis_plan(self) -> dict[str, Any]:
        """The plan of genesis."""
        return {
            "roster": json.loads(self.roster.document),
            "policy": json.loads(self.policy.document),
            "organization": "Acme Storage",
            "keys": plan_keys(),
            "authorities": [
                {"label": "identity-root", "profile": "identity-root", "name": "Acme Identity Root", "days": 9000},
                {"label": "device-ca", "profile": "device-ca", "name": "Acme Device CA", "days": 8000},
                {"label": "site-ca", "profile": "site-ca", "name": "Acme Site CA", "site": "graz-1", "days": 3000},
                {"label": "service-ca", "profile": "service-ca", "name": "Acme Service CA", "days": 3000},
            ],
            "trust_set": plan_set(),
            "births": [{"class_name": CLASS, "counters": {"0": 0, "2": 0}}],
        }

    async def carry_out(self, name: str, *officers: str, role: str = "officer") -> CeremonyShown:
        """Approve and execute every step of a ceremony."""
        while True:
            shown = await self.ask(commands.ShowCeremony(name), "local", CeremonyShown)
            ordered = sorted(shown.steps, key=lambda s: s.step, reverse=True)
            step = next((item.step for item in ordered if not item.done), None)
            if step is None:
                return shown
            await self.approve(name, step, *officers)
            await self.ask(commands.ExecuteStep(name, step), role, CeremonyShown)

    async def propose(self, name: str, action: str, plan: Mapping[str, Any], chg: str = "") -> CeremonyShown:
        """Propose a ceremony as alice."""
        command = commands.OpenCeremony(name, action, json.dumps(plan).encode(), chg)
        return await self.ask(command, "officer", CeremonyShown)

    async def ceremony(self, name: str, action: str, plan: Mapping[str, Any], *officers: str) -> CeremonyShown:
        """Propose a ceremony as alice, approve it by `officers` (bob and carol), execute it."""
        await self.propose(name, action, plan)
        return await self.carry_out(name, *(officers or ("bob", "carol")))

    async def open_order(
        self, name: str = "wo-1", quantity: int = 20, last: int = 25, digits: int = 6, **fields: Any
    ) -> None:
        """An approved work order."""
        now = int(datetime.now(UTC).timestamp())
        plan = {
            "id": name, "profile": "idevid", "class_name": CLASS, "plant": PLANT, "prefix": "BMS-", "digits": digits,
            "first": 1, "last": last, "quantity": quantity, "valid_from": now - 60, "valid_to": now + 86400,
            "organization": "Acme Storage", **fields,
        }  # fmt: skip
        if "serials" in fields:
            plan = {name: value for name, value in plan.items() if name not in ("prefix", "digits", "first", "last")}
        await self.ceremony(f"order-{name}", "work-order", plan)


def make_policy(jwk: dict[str, str]) -> Policy:
    """A policy under which every role gets its token from one issuer."""
    quorums = {kind: Quorum(2, ("officer",), assurance="software") for kind in KINDS}
    quorums |= {kind: Quorum(0) for kind in UNATTENDED}
    bind = {
        "station": {"plant": "plant", "class": "class"}, "officer": {"officer": "officer"},
        "operator": {"plant": "plant", "site": "site"},
    }  # fmt: skip
    roles = ("station", "pipeline", "officer", "auditor", "operator", "gateway")
    grants = tuple(Grant(role=cast(Any, role), claims={"role": role}, bind=bind.get(role, {})) for role in roles)
    placed = {**bind["station"], "line": "line", "station": "station"}
    grants += (Grant(role="station", claims={"role": "line-station"}, bind=placed),)
    issuer = Issuer(ISSUER, AUDIENCE, ("ES256",), 600, KeysInline((jwk,)), grants)
    releases = tuple(
        ReleasePolicy(
            class_name=CLASS, channel=channel, component=2, format="mcuboot", image_role="image-app",
            claims=(dict(REPOSITORY),), hardware=((1, 3),), slot_bytes=458_752, floor=1, max_step=4,
            min_validity_days=0,
        )
        for channel in ("stable", "transition")
    )  # fmt: skip
    return Policy(quorums=quorums, fleet=FLEET, issuers=(issuer,), releases=releases)


def place_tokens(path: Path) -> tuple[TokenPlace, ...]:
    """Which roles live on which token."""
    return tuple(TokenPlace(label, path / f"{label}.pin", roles or MAIN_ROLES) for label, roles in TOKENS.items())


def soft_world(path: Path, database: Database | None = None) -> World:
    """A world whose tokens are soft keys; on SQLite, or on this empty database of PostgreSQL."""
    shared: dict[Any, Any] = {}
    memos: dict[Any, Any] = {}
    return World(path, lambda: cast(Strongbox, Softbox(tuple(TOKENS), shared, memos)), database=database)


def soft_keys(world: World) -> Softbox:
    """The soft tokens of a started world."""
    box: object = world.room.door.strongbox
    assert isinstance(box, Softbox)
    return box


def token_keys(world: World) -> dict[tuple[str, bytes], bytes]:
    """What is in the tokens of a started world: token and CKA_ID of each private key, with its public half as DER."""
    found = world.room.writer.run_now(world.room.door.strongbox.inventory)
    halves = [(token.label, item) for token in found for item in token.objects]
    public = {(label, item.id): item.public_key for label, item in halves if item.kind == "public-key"}
    return {(label, item.id): public[label, item.id] for label, item in halves if item.kind == "private-key"}


def copy_world(template: World, path: Path) -> World:
    """The same people, database, public files and keys at another place; not started. The template is stopped."""
    box: object = template.room.door.strongbox
    if isinstance(box, Softbox):
        shared, memos = dict(box.keys), dict(box.memos)
        soft = World(path, lambda: cast(Strongbox, Softbox(tuple(TOKENS), shared, memos)), template.around)
        return _move_in(template, soft)
    shutil.copytree(template.path / "hsm", path / "hsm")
    return _move_in(template, World(path, lambda: open_tokens(path / "hsm", tuple(TOKENS)), template.around))


def _move_in(template: World, world: World) -> World:
    world.issuer, world.officers = template.issuer, template.officers
    world.roster, world.policy = template.roster, template.policy
    world.database = template.database and template.database.copy()
    for name in ("data", "public"):
        shutil.copytree(template.path / name, world.path / name)
    return world


def hsm_world(path: Path, database: Database | None = None) -> World:
    """A world on SoftHSM tokens, fresh at its first start. One such world can be started at a time."""

    def open_box() -> Strongbox:
        if (path / "hsm").exists():
            return open_tokens(path / "hsm", tuple(TOKENS))
        return fresh_strongbox(path / "hsm", tuple(TOKENS), os_locking=True)

    return World(path, open_box, database=database)


def make_request(key: ec.EllipticCurvePrivateKey | None = None, **extensions: Any) -> bytes:
    """A PKCS#10 request in PEM by a fresh P-256 key."""
    private = key or ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "device")])
    )
    for extension in extensions.values():
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


async def export_journal(world: World) -> dict[str, bytes]:
    """Every file of a complete export."""
    files: dict[str, bytes] = {}
    size, cursor = 0, ""
    while True:
        part = await world.ask(commands.ExportJournal(size, cursor), "auditor", commands.JournalPart)
        files.update(part.files)
        size, cursor = part.size, part.cursor
        if not cursor:
            return files


def audit_files(world: World, files: dict[str, bytes]) -> Report:
    """What the offline verifier says of an export, with the log's own key as the only trust."""
    log_key = world.room.ledger.log_key
    assert log_key is not None
    policy = parse_policy(f"log {log_key.vkey.encode()}\nquorum none\n".encode())
    return audit_journal(files.__getitem__, list(files), policy)


async def audit_world(world: World) -> Report:
    """Export the journal and verify it: no gaps in seq and kctr, every intent closed once, every signature true."""
    return audit_files(world, await export_journal(world))


async def issue_device(world: World, number: int, csr: bytes) -> commands.DeviceIssued:
    """A certificate for serial `number` under the work order wo-1."""
    command = commands.IssueDevice("wo-1", f"BMS-{number:06}", csr)
    return await world.ask(command, "station", commands.DeviceIssued)
