"""Birth packages: what a line burns into a device of a class (docs/trust.cddl, `birth-package`)."""

from collections.abc import Mapping, Sequence

from pki.drafts import Draft
from pki.trust.authority import Point, check_fleet, check_signers, open_sign
from pki.trust.drafts import draft_sign
from pki.trust.errors import SetRefMismatch
from pki.trust.keys import CoseKey
from pki.trust.payloads import Payload
from pki.trust.sets import CLASS_ID, DOMAIN, SET_REF, Domain, RoleId, SetRef, TrustSet
from pki.trust.shapes import HASH, UUID, Field, array, octets, pair, record, table, text, uint


class BirthPackage(Payload, frozen=True):
    """What a device is born with.

    set_ref: the genesis set. fuses: words as (name, value). golden: SHA-256 of the golden image. counters: initial
    values by domain.
    """

    NAME = "birth-package"

    fleet: bytes
    class_id: bytes
    set_ref: SetRef
    fuses: tuple[tuple[str, bytes], ...]
    golden: bytes | None
    counters: Mapping[Domain, int]


BirthPackage.shape = record(
    BirthPackage,
    {
        2: Field("fleet", UUID),
        3: Field("class_id", CLASS_ID),
        4: Field("set_ref", SET_REF),
        5: Field("fuses", array(pair(text(64), octets(0, 256)), low=0)),
        6: Field("golden", HASH, None),
        7: Field("counters", table(DOMAIN, uint(), low=0)),
    },
    marks={1: 1},
)


def verify_birth_package(genesis: TrustSet, newest: TrustSet, message: bytes) -> BirthPackage:
    """A birth package with this genesis set, by the manifest-signers of its class in the newest set.

    Raises SetRefMismatch when it names another genesis set, or another TrustError or CborInvalid leaf.
    """
    package, signed = open_sign(BirthPackage, message)
    check_fleet(newest, package.fleet)
    if package.set_ref != genesis.ref or genesis.fleet != newest.fleet:
        raise SetRefMismatch("birth package names another genesis set")
    check_signers(newest, RoleId.MANIFEST_SIGNER, signed, [Point(package.class_id)])
    return package


def draft_birth_package(
    genesis: TrustSet, newest: TrustSet, package: BirthPackage, signers: Sequence[CoseKey]
) -> Draft:
    """A draft of a birth package, verified before it leaves."""
    return draft_sign(
        package,
        signers,
        summary=f"Birth package: class {package.class_id.hex()}, genesis set {package.set_ref.hash.hex()[:16]}",
        what={
            "class": package.class_id.hex(),
            "genesis": package.set_ref.hash.hex(),
            "hash": package.payload_sha256.hex(),
        },
        check=lambda message: verify_birth_package(genesis, newest, message),
    )
