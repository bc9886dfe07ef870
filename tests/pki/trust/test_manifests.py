"""Manifests: signed by the group of their class, component and sites, under exactly this set."""

from typing import Any

import pytest

from pki.errors import PkiError
from pki.trust.errors import ThresholdNotMet
from pki.trust.manifests import Segment, draft_manifest, verify_manifest
from pki.trust.sets import Domain, RoleId, Scope, SetRef
from pki.trust.targets import SHA256, Digest
from tests.pki.trust.fleets import (
    CLASS,
    COUNTERS,
    IMAGE,
    MANIFEST,
    OTHER_CLASS,
    ROOTS,
    SITE,
    STRANGER,
    SoftKey,
    finish,
    following,
    genesis,
    group,
    keys_of,
    sign,
    target,
)
from tests.pki.trust.messages import GENESIS, component, manifest

SHA = Digest(SHA256, bytes(32))
SCOPED = genesis(
    roles={
        **GENESIS.roles,
        RoleId.MANIFEST_SIGNER: group(1, MANIFEST, scope=Scope(classes=(CLASS,), domains=(Domain.APP,), sites=(SITE,))),
    }
)


def test_accepts() -> None:
    assert verify_manifest(GENESIS, sign(manifest(), MANIFEST)) == manifest()


@pytest.mark.parametrize("signer", [STRANGER, IMAGE, ROOTS[0], COUNTERS[0]])
def test_other_roles_do_not_sign_manifests(signer: SoftKey) -> None:
    with pytest.raises(ThresholdNotMet):
        verify_manifest(GENESIS, sign(manifest(), signer))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"fleet": bytes(16)}, "fleet-mismatch"),
        ({"set_ref": SetRef(0, 0, bytes(32))}, "set-ref-mismatch"),
        ({"set_ref": following(GENESIS).ref}, "set-ref-mismatch"),
        ({"component": component(segments=(Segment(0, 4999, SHA),))}, "payload-invalid"),
        ({"component": component(segments=(Segment(1, 5000, SHA),))}, "payload-invalid"),
        ({"component": component(segments=(Segment(0, 5000, SHA), Segment(4000, 1000, SHA)))}, "payload-invalid"),
        ({"component": component(segments=(Segment(0, 5000, SHA), Segment(5000, 0, SHA)))}, "payload-invalid"),
        ({"component": component(segments=())}, "payload-invalid"),
        ({"component": component(version=())}, "payload-invalid"),
        ({"component": component(image_keys=())}, "payload-invalid"),
    ],
)
def test_d10_refusals(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(PkiError) as caught:
        verify_manifest(GENESIS, sign(manifest(**changes), MANIFEST))
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"target": target(sites=(SITE,))}, "accept"),
        ({"target": target()}, "role-undefined"),
        ({"target": target(sites=(SITE, bytes(16)))}, "role-undefined"),
        ({"target": target(sites=(SITE,), class_id=OTHER_CLASS)}, "role-undefined"),
        ({"target": target(sites=(SITE,)), "component": component(component=Domain.BOOT)}, "role-undefined"),
    ],
)
def test_the_scope_of_the_group_bounds_the_target(changes: dict[str, Any], code: str) -> None:
    try:
        verify_manifest(SCOPED, sign(manifest(SCOPED, **changes), MANIFEST))
        found = "accept"
    except PkiError as error:
        found = error.code
    assert found == code


def test_draft() -> None:
    draft = draft_manifest(GENESIS, manifest(), keys_of(MANIFEST))
    assert (draft.kind, draft.payload) == ("fw-manifest", manifest().to_payload())
    assert "app 2.3.0" in draft.summary
    assert draft.what["security_version"] == 3
    assert verify_manifest(GENESIS, finish(draft, MANIFEST)) == manifest()
    with pytest.raises(ThresholdNotMet):
        finish(draft_manifest(GENESIS, manifest(), keys_of(STRANGER)), STRANGER)
