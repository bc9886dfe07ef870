"""Owner enrolment: one LDevID that counts for each installed device, by its IDevID."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from ceremonies.commands import CertificateShown, Move, Replace, RevokeCertificate, Ship
from ceremonies.journal import JournalForked
from ceremonies.ldevid_tables import LdevidRow
from ceremonies.revocation_tables import RevocationRow
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.fielded import say_all
from tests.ceremonies.lines import Unit, check_books, code_of, make_units
from tests.ceremonies.owning import OWNED, Owner, decommission, der_of, make_owned, make_site_ca, operator, place, send_back
from tests.ceremonies.revoking import Watch
from tests.ceremonies.small import act
from tests.ceremonies.templates import Templates
from tests.ceremonies.test_rework import failing, number_of
from tests.engines import tamper
from tests.world import SITE, World, audit_world, copy_world, make_request


@pytest.fixture
def owner(templates: Templates, tmp_path: Path) -> Iterator[Owner]:
    """A device at the site of `site-ca`, and a keyroom whose clock can be set forward."""
    units = list[Unit]()

    async def prepare(world: World) -> None:
        units.append(await make_owned(world))

    world = copy_world(templates.factory(), tmp_path / "world")
    world.watch = Watch(world)  # type: ignore[attr-defined]
    world.start()
    asyncio.run(prepare(world))
    yield Owner(world, units[0])
    world.stop()


def revoked(world: World) -> dict[str, str]:
    """Numbers and reasons of what is revoked."""
    return {row["number"]: row["reason"] for row in world.room.store.list(RevocationRow, "seq")}


@pytest.mark.req("CA-1", "CA-11")
def test_an_installed_device_gets_an_ldevid_of_its_site(owner: Owner) -> None:
    async def run() -> None:
        csr = make_request(owner.key)
        first = await owner.enrol(csr)
        again = await owner.enrol(csr)
        assert (first.certificate, first.replayed, again.replayed) == (again.certificate, False, True)
        assert (await owner.enrol(make_request(owner.key))).certificate == first.certificate
        found = x509.load_pem_x509_certificate(first.certificate)
        names = [str(item.value) for item in found.subject]
        assert names == ["Acme Storage", OWNED, "bms-stm32h7", owner.unit.serial]
        purposes = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert set(purposes) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
        assert found.not_valid_after_utc - found.not_valid_before_utc == timedelta(days=365)
        chain = x509.load_pem_x509_certificates(first.chain)
        found.verify_directly_issued_by(chain[0])
        chain[0].verify_directly_issued_by(chain[1])
        assert first.ueid == owner.unit.held.ueid
        check_books(owner.world)
        assert (await audit_world(owner.world)).verdict == "authenticated"

    asyncio.run(run())


@pytest.mark.req("CA-14")
def test_another_key_replaces_the_ldevid_in_one_commit(owner: Owner) -> None:
    async def run() -> None:
        first = await owner.enrol()
        before = owner.world.room.ledger.journal.size
        key = ec.generate_private_key(ec.SECP256R1())
        second = await owner.enrol(make_request(key))
        leaves = read_leaves(owner.world, before)
        assert [leaf["type"] for leaf in leaves] == ["key.sign.intent", "key.sign.outcome", "certificate.revoke"]
        assert revoked(owner.world) == {number_of(first): "superseded"}
        (row,) = owner.world.room.store.list(LdevidRow, "serial")
        assert row["number"] == number_of(second)
        assert code_of(await owner.ask(make_request(owner.key))) == "key-used"  # it was replaced
        assert (await owner.enrol(make_request(key))).certificate == second.certificate
        check_books(owner.world)

    asyncio.run(run())
