"""API processes with addresses of their own reach one keyroom over mutual TLS; a third is not on its list."""

import base64
import contextlib
from pathlib import Path

import httpx
import pytest

from ceremonies.tls import TlsFiles
from tests.ceremonies.authorities import CLIENT, SERVER, Authority
from tests.postgres import free_port
from tests.scenarios.keyrooms import Running
from tests.scenarios.serving import served
from tests.world import World, copy_world, make_request

KEYROOM = "127.0.0.3"
ORDER = "/v1/work-orders/wo-1/devices"


def replica(path: Path, host: str, port: int, files: TlsFiles) -> contextlib.AbstractContextManager[httpx.Client]:
    """A `kedge serve` process on an address of its own."""
    settings = {
        "PUBLIC_DIR": path, "HOST": host, "ALLOWED_HOSTS": host, "KEYROOM": f"{KEYROOM}:{port}",
        "KEYROOM_NAME": "keyroom.example", "KEYROOM_CA": files.ca, "KEYROOM_CERT": files.certificate,
        "KEYROOM_KEY": files.key,
    }  # fmt: skip
    return served(settings)


@pytest.mark.req("AZ-3", "AZ-5", "T19")
def test_two_replicas_issue_over_mutual_tls_and_a_stranger_does_not(hsm_template: World, tmp_path: Path) -> None:
    world = copy_world(hsm_template, tmp_path / "world")
    authority, port = Authority(tmp_path / "ca"), free_port()
    files = authority.issue("keyroom.example", SERVER)
    remote = (
        f'[remote]\nlisten = "{KEYROOM}:{port}"\ncertificate = "{files.certificate}"\nkey = "{files.key}"\n'
        f'ca = "{files.ca}"\npeers = ["dns:api-1.example", "dns:api-2.example"]\n'
    )
    running = Running(world, "keyroom-1", remote)
    headers = {"Authorization": f"Bearer {world.role_token('station')}"}
    try:
        running.wait_for("keyroom is up")
        with contextlib.ExitStack() as stack:
            one, two, stranger = (
                stack.enter_context(
                    replica(tmp_path, f"127.0.0.{n}", port, authority.issue(f"api-{n}.example", CLIENT))
                )
                for n in (1, 2, 4)
            )
            csr = make_request()
            pem = {**headers, "Content-Type": "application/x-pem-file"}
            first = one.put(f"{ORDER}/BMS-000001", headers=pem, content=csr)
            assert first.status_code == 200, first.text
            again = two.put(f"{ORDER}/BMS-000001", headers=pem, content=csr)
            assert again.json() == {**first.json(), "replayed": True, "proven": again.json()["proven"]}
            items = [{"serial": f"BMS-{n:06}", "csr": base64.b64encode(make_request()).decode()} for n in range(2, 12)]
            batch = two.post(ORDER, headers=headers, json={"requests": items})
            assert [item.get("serial") for item in batch.json()["results"]] == [item["serial"] for item in items]
            refused = stranger.put(f"{ORDER}/BMS-000012", headers=pem, content=make_request())
            assert (refused.status_code, refused.json()["code"]) == (503, "keyroom-down")
            assert [http.get("/readyz").status_code for http in (one, two, stranger)] == [200, 200, 503]
    finally:
        running.end()
    world.start()
    try:
        assert world.room.ledger.replay.quotas["wo-1"].issued == 11
    finally:
        world.stop()
