import pytest

from tests.api.conftest import Served


@pytest.mark.req("CA-9", "CA-10")
def test_lists_are_static_files_that_stay_up_without_the_keyroom(down: Served) -> None:
    folder = down.settings.public_dir / "crl" / "device-ca"
    folder.mkdir(parents=True)
    (folder / "3f.crl").write_bytes(b"0\x01a")
    (folder.parent / "device-ca.crl").write_bytes(b"0\x01b")
    for path, data in (("device-ca/3f.crl", b"0\x01a"), ("device-ca.crl", b"0\x01b")):
        answer = down.http.get(f"/crl/{path}")
        assert (answer.status_code, answer.content) == (200, data)
        assert answer.headers["content-type"] == "application/pkix-crl"
        assert answer.headers["cache-control"] == "public, max-age=60"


@pytest.mark.req("T24")
@pytest.mark.parametrize(
    "path",
    ["device-ca", "none.crl", "device-ca/40.crl", "device-ca/3F.crl", "..%2fjournal%2fcheckpoint.crl", "a b.crl",
     "device-ca/..%2f3f.crl", "%2e%2e/3f.crl", ".crl", "device-ca/3f"],
)  # fmt: skip
def test_other_names_are_nothing(down: Served, path: str) -> None:
    (down.settings.public_dir / "crl").mkdir(parents=True)
    assert down.http.get(f"/crl/{path}").status_code == 404


def test_the_newest_lists_are_listed(served: Served, peer: object) -> None:
    assert peer
    (shown,) = served.http.get("/v1/crls").json()["lists"]
    assert (shown["path"], shown["number"], shown["current"]) == ("crl/device-ca/3f.crl", 417, True)
