"""The surface of the keyroom: closed, tagged, limited, and with a role rule for every command."""

import typing

import msgspec
import pytest

from ceremonies import commands
from ceremonies.commands import AnyCommand, Command, Request

KINDS: tuple[type[Command], ...] = typing.get_args(AnyCommand)
ROLES = {"station", "pipeline", "officer", "auditor", "operator", "gateway", "device", "local", "public"}
encode, decode = msgspec.msgpack.encode, msgspec.msgpack.Decoder(Request).decode


def test_every_command_of_the_module_can_be_asked() -> None:
    declared = {item for item in vars(commands).values() if isinstance(item, type) and issubclass(item, Command)}
    assert declared - {Command} == set(KINDS)
    tags = [str(kind.__struct_config__.tag) for kind in KINDS]
    assert len(set(tags)) == len(tags)


@pytest.mark.req("AZ-2")
@pytest.mark.parametrize("kind", KINDS)
def test_every_command_says_who_may_ask(kind: type[Command]) -> None:
    assert kind.roles
    assert kind.roles <= ROLES
    assert "public" not in kind.roles or kind.roles == {"public"}


@pytest.mark.req("HS-8", "T17")
def test_no_command_carries_bytes_or_a_digest_to_be_signed() -> None:
    names = {name for kind in KINDS for name in kind.__struct_fields__}
    assert not names & {"payload", "tbs", "to_sign", "message", "hash", "prehash"}
    # Bytes come in as a request, a chunk, a plan, an approval or a receipt; each is parsed and judged.
    octets = {
        (kind.__name__, field.name)
        for kind in KINDS
        for field in msgspec.structs.fields(kind)
        if any(word in str(field.type) for word in ("bytes", "DeviceRequest", "Confirmation"))
    }
    assert octets == {
        ("IssueDevices", "items"),
        ("IssueDevice", "csr"),
        ("EnrolDevice", "csr"),
        ("IssueStation", "csr"),
        ("Upload", "data"),
        ("OpenCeremony", "plan"),
        ("OpenGenesis", "plan"),
        ("DecideStep", "statement"),
        ("DecideStep", "signature"),
        ("OpenChallenge", "campaign"),
        ("SubmitReceipts", "receipts"),
        ("PreviewRevocation", "plan"),
        ("AskStatus", "request"),  # parsed; what is signed is a status that the keyroom found
        ("ConfirmDevice", "signature"),
        ("ConfirmDevices", "items"),
        ("ChallengeTpm", "endorsement"),  # parsed; nothing of it is signed
        ("ChallengeTpm", "area"),
        ("ChallengeTpm", "chain"),
        ("ActivateTpm", "secret"),  # compared
        ("TransactCmp", "request"),  # parsed; what is signed is an answer that the keyroom writes
        ("FindStrays", "certificates"),
    }


def test_a_request_comes_back_as_it_was_sent() -> None:
    request = Request(7, commands.ShowProof("ab" * 32), "token", "192.0.2.1")
    assert decode(encode(request)) == request


@pytest.mark.req("MP-11", "T21")
def test_stopping_and_deciding_go_first() -> None:
    assert {kind for kind in KINDS if kind.urgent} == {
        commands.SuspendKey,
        commands.DecideStep,
        commands.SuspendStation,
        commands.RevokeStation,
        commands.RevokeCertificate,
    }
