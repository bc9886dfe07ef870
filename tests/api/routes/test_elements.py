"""Keys in hardware over HTTP."""

import pytest

from ceremonies import commands
from tests.api.answers import DIGEST
from tests.api.conftest import Served
from tests.api.peer import Peer

UNIT = "/v1/work-orders/wo-1/devices/BMS-1"


@pytest.mark.usefixtures("peer")
def test_elements_are_listed_and_manifests_looked_at(served: Served, bearer: dict[str, str]) -> None:
    listed = served.http.get("/v1/elements", headers=bearer).json()
    element = {"key": DIGEST, "kind": "secure-element", "ident": "0123f1822c38dd7a01", "serial": "", "index": 417}
    assert listed == {"elements": [element], "following": ""}
    checked = served.http.get(f"/v1/elements/manifests/{DIGEST}", headers=bearer).json()
    assert checked == {"parts": {"ATECC608B-TFLXTLSS": 2}, "bad": [], "bad_count": 0}
    assert served.http.get("/v1/elements?after=x", headers=bearer).status_code == 422


@pytest.mark.req("CA-2")
def test_a_station_fetches_a_credential_and_hands_in_the_secret(
    served: Served, peer: Peer, bearer: dict[str, str]
) -> None:
    asked = {"endorsement": "MII=", "area": "AFg=", "chain": ["MIE="]}
    given = served.http.post(f"{UNIT}/tpm-challenge", headers=bearer, json=asked)
    assert (given.status_code, given.json()["blob"], given.json()["seed"]) == (201, "YmxvYg==", "c2VlZA==")
    answer = {"challenge": "9f" * 16, "secret": "AAEC"}
    done = served.http.post(f"{UNIT}/tpm-activation", headers=bearer, json=answer).json()
    assert done == {"serial": "BMS-1", "key": DIGEST, "ident": "aa" * 32, "index": 423, "replayed": False}
    assert [request.command for request in peer.asked] == [
        commands.ChallengeTpm("wo-1", "BMS-1", b"0\x82", b"\0X", (b"0\x81",)),
        commands.ActivateTpm("wo-1", "BMS-1", "9f" * 16, b"\0\1\2"),
    ]
    for body in ({**answer, "challenge": "x"}, {**answer, "secret": "AA"}, {"challenge": "9f" * 16}):
        assert served.http.post(f"{UNIT}/tpm-activation", headers=bearer, json=body).status_code == 422
