"""What the entries say of boxes and grants."""

import msgspec

from ceremonies.granted import BOX, CENTRE, IMPORT, MAKE, SETTLE, Box, Grant, Grants, list_facts, read_grant

GRANT = Grant("graz-1", 1, "ca" * 32, 10, ("idevid",), ("01" * 16,), 100, 200, "dd" * 32)
NEXT = msgspec.structs.replace(GRANT, id="graz-2", number=2)
PAPERS = {"births": {}, "certificate": "cc" * 32, "sets": 1}


def test_a_grant_is_what_its_entry_says() -> None:
    assert read_grant(list_facts(GRANT)) == GRANT
    named = msgspec.structs.replace(GRANT, facts="fa" * 32)
    assert read_grant(list_facts(named)) == named
    assert "facts" not in list_facts(GRANT)  # as earlier releases wrote it


def test_a_box_holds_grants_and_the_highest_number_is_in_force() -> None:
    grants = Grants()
    grants.take(CENTRE, 1, {"plant": "graz", "root": "aa" * 32, "trust_set": "bb" * 32})
    assert grants.current(GRANT.ca) is None
    grants.take(IMPORT, 2, {**list_facts(GRANT), **PAPERS})
    grants.count("graz-1")
    assert (grants.current(GRANT.ca), grants.held["graz-1"].left) == (grants.held["graz-1"], 9)
    grants.take(IMPORT, 3, {**list_facts(NEXT), **PAPERS, "sets": 0})
    assert grants.current(GRANT.ca) == msgspec.structs.replace(NEXT, seq=3)
    assert grants.current("00" * 32) is None
    assert (grants.sets, len(grants.papers)) == (2, 2)


def test_a_centre_makes_grants_and_settles_boxes() -> None:
    grants = Grants()
    grants.take(BOX, 1, {"box": "graz-ca", "plant": "graz", "ca": GRANT.ca, "policy": "ee" * 32})
    grants.take(MAKE, 2, list_facts(GRANT))
    digests = dict.fromkeys(("checkpoint", "state", "medium", "report"), "11" * 32)
    for size in (54, 60):
        grants.take(SETTLE, size, {**digests, "box": "graz-ca", "size": size, "certificates": 5, "devices": 4})
    assert grants.boxes == {"graz-ca": Box("graz-ca", "graz", GRANT.ca, "ee" * 32, 60, **digests, seq=60)}
    assert (grants.certificates, grants.devices, grants.made) == (10, 8, {"graz-1": GRANT})
