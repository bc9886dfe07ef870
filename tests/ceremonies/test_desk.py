"""The desk: who may ask what, and that nothing is asked without a trace."""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from structlog.testing import capture_logs

from ceremonies import commands
from ceremonies.commands import AnyCommand, AnyResult, Command, KeysListed, Problem, Request
from ceremonies.desk import SOURCES_LIMIT, Caller, Desk, problem_of
from ceremonies.handlers import handlers
from ceremonies.quorums import CeremonyUnknown
from ceremonies.writer import KeyroomStopping
from tests.ceremonies.examples import COMMANDS, ROLES, example, read_leaves
from tests.ceremonies.issuer_keys import make_signer
from tests.pki.formats.mcuboot_images import build_image
from tests.world import CLASS, REPOSITORY, World, copy_world, soft_world


@pytest.fixture(scope="module")
def busy_world(factory_template: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A started world that the tests of this file share: none of them needs it untouched."""
    world = copy_world(factory_template, tmp_path_factory.mktemp("busy")).start()
    yield world
    world.stop()


async def try_one(world: World, command: Command, role: str, token: str = "") -> tuple[AnyResult | Problem, list[Any]]:
    """The answer, and the entries that the journal has gained by it."""
    before = world.room.ledger.journal.size
    answer = await world.desk.answer(
        Request(1, _known(command), token or ("" if role in ("", "local") else world.role_token(role)), "192.0.2.7"),
        local=role == "local",
    )
    return answer, read_leaves(world, before)


def _known(command: Any) -> AnyCommand:
    """Every command of the file is one of the union."""
    assert type(command) in COMMANDS
    known: AnyCommand = command
    return known


def ask_one(world: World, command: Command, role: str, token: str = "") -> tuple[AnyResult | Problem, list[Any]]:
    return asyncio.run(try_one(world, command, role, token))


def test_every_command_has_a_handler_and_a_rule(busy_world: World) -> None:
    assert set(handlers(busy_world.room)) == set(COMMANDS)
    assert [kind.__name__ for kind in COMMANDS if not kind.roles] == []
    known = {*ROLES, "device", "local", "public"}
    assert [kind.__name__ for kind in COMMANDS if not kind.roles <= known] == []
    assert [kind.__name__ for kind in COMMANDS if "public" in kind.roles and len(kind.roles) > 1] == []


@pytest.mark.req("AZ-2", "AU-4")
@pytest.mark.parametrize("kind", COMMANDS, ids=lambda kind: kind.__name__)
def test_a_role_may_ask_exactly_what_the_command_says(busy_world: World, kind: type[Command]) -> None:
    for role in ROLES:
        answer, entries = ask_one(busy_world, example(kind), role)
        refused = isinstance(answer, Problem) and answer.code == "role-refused"
        assert refused != bool({role, "public"} & kind.roles), f"{kind.__name__} by {role}: {answer}"
        if refused:
            (entry,) = entries
            assert (entry["type"], entry["actor"]["role"]) == ("auth.fail", role)
            assert entry["op"]["what"]["command"] == kind.__struct_config__.tag
            assert entry["op"]["what"]["why"].startswith("role-refused: ")


GATHERED = {commands.ShowLineBoard}
"""The next readings of the same caller are counted in one entry, an hour later (tests/ceremonies/test_boards.py)."""


@pytest.mark.req("AU-4")
@pytest.mark.parametrize("kind", [kind for kind in COMMANDS if "public" not in kind.roles], ids=lambda k: k.__name__)
def test_every_command_leaves_an_entry(factory_world: World, kind: type[Command]) -> None:
    """Done or refused: a new command without an entry, or without an example, fails here."""
    role = sorted(kind.roles & set(ROLES) or {"local"})[0]
    for turn in range(1 if kind in GATHERED else 2):
        answer, entries = ask_one(factory_world, example(kind), role)
        assert entries, f"{kind.__name__}, {turn}, left no entry: {answer}"
        if isinstance(answer, Problem):
            assert any(answer.code in json.dumps(entry) for entry in entries)


def test_a_public_read_leaves_no_entry(busy_world: World) -> None:
    for kind in (kind for kind in COMMANDS if "public" in kind.roles):
        for role in ("", "local", "auditor"):
            answer, entries = ask_one(busy_world, example(kind), role)
            assert entries == []
            assert not isinstance(answer, Problem) or answer.code in (
                "document-unknown",
                "station-unknown",
                "message-malformed",
            )


@pytest.mark.req("AZ-3")
def test_local_commands_are_not_taken_from_the_api(busy_world: World) -> None:
    genesis = commands.OpenGenesis("again", b"{}")
    answers = [ask_one(busy_world, genesis, role)[0] for role in ROLES]
    assert [isinstance(answer, Problem) and answer.code for answer in answers] == ["role-refused"] * len(ROLES)
    answer, entries = ask_one(busy_world, genesis, "")
    assert isinstance(answer, Problem)
    assert (answer.code, entries) == ("token-missing", [])


@pytest.mark.req("AZ-3")
def test_the_local_user_is_no_officer(busy_world: World) -> None:
    for kind in (kind for kind in COMMANDS if not {"local", "public"} & kind.roles):
        answer, _ = ask_one(busy_world, example(kind), "local")
        assert isinstance(answer, Problem)
        assert answer.code == "token-missing"


@pytest.mark.req("AZ-3", "AU-4")
@pytest.mark.parametrize("kind", [commands.ListCeremonies, commands.ListKeys], ids=lambda kind: kind.__name__)
def test_the_local_user_lists_and_leaves_an_entry(busy_world: World, kind: type[Command]) -> None:
    answer, (entry,) = ask_one(busy_world, example(kind), "local")
    assert isinstance(answer, commands.CeremoniesListed | commands.KeysListed)
    assert (entry["type"], entry["actor"]["role"], entry["actor"]["src"]) == ("export", "local", "local")
    refused, entries = ask_one(busy_world, example(kind), "")
    assert isinstance(refused, Problem)
    assert (refused.code, entries) == ("token-missing", [])


def forge(world: World, name: str) -> str:
    """A token that must not count."""
    good = world.role_token("officer")
    header, body, _ = good.split(".")
    fields = jwt.decode(good, options={"verify_signature": False})
    public = world.issuer.private.public_key()
    if name == "none":
        return f"{encode({'alg': 'none', 'kid': world.issuer.kid})}.{body}."
    if name == "none-signed":
        return f"{encode({'alg': 'none', 'kid': world.issuer.kid})}.{body}.{'A' * 86}"
    if name.startswith("hs256"):
        key = (
            public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            if name == "hs256-pem"
            else json.dumps(world.issuer.jwk).encode()
        )
        signed = f"{encode({'alg': 'HS256', 'kid': world.issuer.kid})}.{body}"
        return f"{signed}.{pack(hmac.new(key, signed.encode(), hashlib.sha256).digest())}"
    if name == "stranger":
        stranger = make_signer()
        return jwt.encode(fields, stranger.private, "ES256", {"kid": world.issuer.kid})
    if name == "altered":
        return f"{header}.{encode({**fields, 'officer': 'bob'})}.{good.split('.')[2]}"
    if name == "role":
        return world.token("root", officer="alice")
    now = int(time.time())
    changes: dict[str, dict[str, Any]] = {
        "audience": {"aud": "https://other.example"},
        "expired": {"exp": now - 1, "iat": now - 300, "nbf": now - 300},
        "old": {"iat": now - 3600, "nbf": now - 3600},
        "future": {"iat": now + 3600, "nbf": now + 3600},
        "issuer": {"iss": "https://evil.example"},
    }
    return world.token("officer", **{"officer": "alice", **changes[name]})


def pack(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def encode(value: object) -> str:
    return pack(json.dumps(value).encode())


@pytest.mark.req("AZ-6", "T23")
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("none", "token-malformed"),
        ("none-signed", "token-algorithm-refused"),
        ("hs256-pem", "token-algorithm-refused"),
        ("hs256-jwk", "token-algorithm-refused"),
        ("stranger", "token-signature-invalid"),
        ("altered", "token-signature-invalid"),
        ("audience", "token-audience-wrong"),
        ("expired", "token-expired"),
        ("old", "token-too-old"),
        ("future", "token-not-yet-valid"),
        ("issuer", "token-issuer-unknown"),
        ("role", "token-grant-missing"),
    ],
)
def test_a_forged_token_is_refused_and_gathered(busy_world: World, name: str, code: str) -> None:
    asyncio.run(busy_world.desk.record_suppressed())
    answer, entries = ask_one(busy_world, commands.SuspendKey("image-app-1", "forged"), "", forge(busy_world, name))
    assert isinstance(answer, Problem)
    assert (answer.code, entries) == (code, [])
    before = busy_world.room.ledger.journal.size
    asyncio.run(busy_world.desk.record_suppressed())
    (entry,) = read_leaves(busy_world, before)
    assert (entry["type"], entry["op"]["what"]["count"], entry["actor"]["src"]) == ("suppressed", 1, "192.0.2.7")


@pytest.mark.req("AZ-6")
def test_a_sign_request_spends_its_token(genesis_world: World) -> None:
    token = genesis_world.token("pipeline", **REPOSITORY)

    async def release(number: int) -> AnyResult | Problem:
        image = build_image(body=bytes([number]) * 5000, version=(2, number, 0, 0))
        digest = hashlib.sha256(image).hexdigest()
        await genesis_world.ask(commands.Upload(digest, 0, image, True), "pipeline", commands.Uploaded, token)
        command = commands.SignRelease(f"release-{number}", CLASS, "stable", f"2.{number}.0", 2, digest)
        return await genesis_world.try_ask(command, "pipeline", token)

    assert isinstance(asyncio.run(release(3)), commands.ReleaseSigned)
    again = asyncio.run(release(4))
    assert isinstance(again, Problem)
    assert again.code == "token-replayed"


async def knock(desk: Desk, source: str, count: int = 1) -> None:
    """Requests without a token."""
    for _ in range(count):
        answer = await desk.answer(Request(1, commands.ListKeys(), "", source), local=False)
        assert isinstance(answer, Problem)
        assert answer.code == "token-missing"


def test_strangers_are_gathered_by_source(busy_world: World) -> None:
    desk = Desk(busy_world.room, handlers(busy_world.room))
    asyncio.run(knock(desk, "192.0.2.1", 3))
    asyncio.run(knock(desk, "192.0.2.2"))
    before = busy_world.room.ledger.journal.size
    asyncio.run(desk.record_suppressed())
    asyncio.run(desk.record_suppressed())
    found = [(entry["actor"]["src"], entry["op"]["what"]["count"]) for entry in read_leaves(busy_world, before)]
    assert found == [("192.0.2.1", 3), ("192.0.2.2", 1)]


def test_many_strangers_do_not_fill_the_journal(busy_world: World) -> None:
    desk = Desk(busy_world.room, handlers(busy_world.room))

    async def crowd() -> None:
        for number in range(SOURCES_LIMIT + 44):
            await knock(desk, f"source-{number}")
        await desk.record_suppressed()

    before = busy_world.room.ledger.journal.size
    asyncio.run(crowd())
    counts = {entry["actor"]["src"]: entry["op"]["what"]["count"] for entry in read_leaves(busy_world, before)}
    assert len(counts) == SOURCES_LIMIT + 1
    assert counts["others"] == 44


def test_what_could_not_be_written_is_kept(factory_template: World, tmp_path: Path) -> None:
    world = copy_world(factory_template, tmp_path / "world").start()
    asyncio.run(knock(world.desk, "192.0.2.1", 2))
    world.stop()
    for _ in range(2):
        with pytest.raises(KeyroomStopping):
            asyncio.run(world.desk.record_suppressed())


def test_before_genesis_nobody_is_known(tmp_path: Path) -> None:
    world = soft_world(tmp_path).start()
    answer, entries = ask_one(world, commands.ListKeys(), "officer")
    assert isinstance(answer, Problem)
    assert (answer.code, entries) == ("door-closed", [])
    asyncio.run(world.desk.record_suppressed())
    assert read_leaves(world)[-1]["type"] == "suppressed"
    world.stop()


def test_an_unforeseen_error_tells_nothing(genesis_world: World) -> None:
    secret = secrets.token_hex(8)

    async def fail(_command: Any, _caller: Caller) -> AnyResult:
        raise RuntimeError(f"PIN {secret}")

    genesis_world.desk = Desk(genesis_world.room, {**handlers(genesis_world.room), commands.ListKeys: fail})
    with capture_logs() as logged:
        answer, entries = ask_one(genesis_world, commands.ListKeys(), "officer")
    assert isinstance(answer, Problem)
    assert answer.code == "internal-error"
    assert [(entry["event"], entry["error"]) for entry in logged] == [("internal error", "RuntimeError")]
    assert secret not in f"{answer} {entries}"
    assert [entry["op"]["what"]["why"] for entry in entries] == ["internal-error"]
    assert "Traceback" not in answer.message


def test_a_command_without_an_entry_of_its_own_gets_one(genesis_world: World) -> None:
    async def nothing(_command: Any, _caller: Caller) -> AnyResult:
        return KeysListed(())

    genesis_world.desk = Desk(genesis_world.room, {**handlers(genesis_world.room), commands.ListKeys: nothing})
    answer, entries = ask_one(genesis_world, commands.ListKeys(), "officer")
    assert answer == KeysListed(())
    assert [(entry["type"], entry["op"]["what"]) for entry in entries] == [("export", {"command": "list-keys"})]


def test_a_problem_carries_code_hint_and_details(genesis_world: World) -> None:
    answer, _ = ask_one(genesis_world, commands.ShowCeremony("nowhere"), "officer")
    assert answer == Problem("ceremony-unknown", "no ceremony nowhere", "list the ceremonies")
    assert problem_of(CeremonyUnknown("no x", hint="list"), "x") == Problem("ceremony-unknown", "no x", "list")
