"""HTTP and command line against a real keyroom with soft keys: what each role may do, and one of each refusal."""

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from api.auth import ROLES
from api.cli.steps import parse_step
from ceremonies.approvals import statement_bytes
from ceremonies.commands import PUBLIC
from pki.log.policy import parse_policy
from pki.log.proofs import verify_proof
from tests.api.answers import REQUESTS
from tests.api.cli.running import answer, make_ssh_key, refusal
from tests.api.houses import House, open_house
from tests.ceremonies.ssh_keys import OfficerKey, make_key
from tests.world import make_request, soft_world

EVERYONE = ("station", "pipeline", "officer", "auditor", "operator", "gateway")
PEM = {"Content-Type": "application/x-pem-file"}
ORDER = "/v1/work-orders/wo-1/devices"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A keyroom after genesis with the work order wo-1, and the API in front of it."""
    world = soft_world(tmp_path_factory.mktemp("keyroom")).start()
    asyncio.run(world.genesis())
    asyncio.run(world.open_order())
    with open_house(world) as opened:
        yield opened


@pytest.mark.req("AZ-2", "KL-7")
@pytest.mark.parametrize("route", [route for route in sorted(ROLES) if ROLES[route] != PUBLIC], ids=" ".join)
def test_matrix_of_roles_and_routes(house: House, route: tuple[str, str]) -> None:
    url, arguments, _ = REQUESTS[route]
    for role in EVERYONE:
        response = house.send(route[0], url.replace("wo-1", "wo-none"), role, **arguments)
        problem = "" if response.is_success else response.json()["code"]
        if role in ROLES[route]:
            assert problem not in ("role-refused", "token-missing", "internal-error"), (role, response.text)
        else:
            assert (response.status_code, problem) == (403, "role-refused"), role


@pytest.mark.req("AZ-2", "AZ-5")
@pytest.mark.parametrize("route", [route for route in sorted(ROLES) if ROLES[route] == PUBLIC], ids=" ".join)
def test_public_routes_ask_for_nothing(house: House, route: tuple[str, str]) -> None:
    url, arguments, _ = REQUESTS[route]
    response = house.send(route[0], url, **arguments)
    refused = "" if response.status_code in (200, 404) else response.json()["code"]
    assert refused in ("", "request-malformed"), response.text


@pytest.mark.req("AZ-6", "T23")
@pytest.mark.parametrize("token", ["e30.e30.", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", "x"])
def test_tokens_of_nobody_are_401(house: House, token: str) -> None:
    response = house.served.http.get("/v1/keys", headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.req("CA-1", "CA-2", "CA-14", "T2", "T15", "T16")
def test_device_certificates_and_their_refusals(house: House) -> None:
    key, request = ec.generate_private_key(ec.SECP256R1()), make_request()

    def issue(serial: str, csr: bytes) -> httpx.Response:
        return house.send("PUT", f"{ORDER}/{serial}", "station", content=csr, headers=PEM)

    first = issue("BMS-000001", request)
    assert first.status_code == 200, first.text
    again = issue("BMS-000001", request)
    assert again.json() == {**first.json(), "replayed": True}
    certificate = x509.load_pem_x509_certificate(first.json()["certificate"].encode())
    assert certificate.public_key() == x509.load_pem_x509_csr(request).public_key()
    refused = {
        "other key": issue("BMS-000001", make_request(key)),
        "known key": issue("BMS-000002", request),
        "self-signature": issue("BMS-000002", break_signature(make_request(key))),
        "CA:TRUE": issue("BMS-000002", make_request(key, ca=x509.BasicConstraints(True, None))),
        "no order": house.send("PUT", ORDER.replace("wo-1", "none") + "/B2", "station", content=request, headers=PEM),
        "no CSR": issue("BMS-000002", b"hello"),
    }
    found = {name: response.status_code for name, response in refused.items()}
    wanted = {"other key": 409, "known key": 409, "self-signature": 400, "CA:TRUE": 422, "no order": 404, "no CSR": 400}
    assert found == wanted, {name: response.text for name, response in refused.items()}


def break_signature(pem: bytes) -> bytes:
    """The same request with its last signature byte changed."""
    lines = pem.decode().splitlines()
    der = bytearray(base64.b64decode("".join(lines[1:-1])))
    der[-1] ^= 1
    return f"{lines[0]}\n{base64.encodebytes(bytes(der)).decode()}{lines[-1]}\n".encode()


@pytest.mark.req("CA-13", "T4")
def test_answer_proves_itself(house: House) -> None:
    response = house.send("PUT", f"{ORDER}/BMS-000003", "station", content=make_request(), headers=PEM)
    proven, vkey = response.json()["proven"], house.served.http.get("/readyz").json()["vkey"]
    policy = parse_policy(f"log {vkey}\nquorum none\n".encode())
    entry = verify_proof(proven["proof"].encode(), proven["entry"].encode(), policy)
    assert entry.leaf.seq == proven["index"]


def test_checkpoint_and_tiles_are_static(house: House) -> None:
    assert house.served.http.get("/journal/checkpoint").text.startswith("kedge.example/journal\n")
    size = int(house.served.http.get("/journal/checkpoint").text.splitlines()[1])
    assert house.served.http.get(f"/journal/tile/0/000.p/{size}").status_code == 200
    entries = house.send("GET", f"/journal/tile/entries/000.p/{size}", "auditor")
    assert entries.status_code == 200
    assert house.send("GET", "/v1/trust-sets/latest", headers={"Accept": "application/cose"}).content[:1] == b"\xd8"


@pytest.mark.req("EV-1", "AU-2")
def test_export_by_command_line_verifies(house: House, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(house.world.role_token("auditor"))
    web = ("--url", house.served.url, "--token-file", tmp_path / "token")
    answer("journal", *web, "export", tmp_path / "journal")
    (tmp_path / "trust").write_text(f"log {house.served.http.get('/readyz').json()['vkey']}\nquorum none\n")
    assert answer("verify", tmp_path / "journal", "--trust", tmp_path / "trust")["verdict"] == "authenticated"


@pytest.mark.req("MP-1", "MP-2", "MP-3", "MP-7")
def test_officers_hold_a_ceremony_by_command_line(house: House, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(house.world.role_token("officer"))
    web = ("ceremony", "--url", house.served.url, "--token-file", tmp_path / "token")
    plan = json.loads(base64.b64decode(answer(*web, "show", "order-wo-1")["plan"]))
    (tmp_path / "plan.json").write_text(json.dumps({**plan, "id": "wo-2"}))
    answer(*web, "open", "order-2", "work-order", tmp_path / "plan.json")
    assert refusal(*web, "execute", "order-2", "plan") == "quorum-not-met"
    answer(*web, "export", "order-2", "plan", tmp_path / "step.json")
    shown = answer("officer", "show", tmp_path / "step.json")
    words = " ".join(shown["words"][-4:])
    for officer in ("bob", "carol"):
        key = write_ssh_key(house.world.officers[officer], tmp_path / officer)
        file = ("officer", "approve", tmp_path / "step.json")
        signed = answer(*file, "--key", key, "--officer", officer, "--words", words)
        answer(*web, "decide", "order-2", "plan", signed["statement"])
    stranger = make_ssh_key(tmp_path / "mallory")
    file = ("officer", "reject", tmp_path / "step.json")
    assert refusal(*file, "--key", stranger, "--officer", "alice", "--words", words) == "key-not-in-roster"
    forged = statement_bytes(parse_step((tmp_path / "step.json").read_bytes()).template, "alice", "reject")
    (tmp_path / "forged.json").write_bytes(forged)
    (tmp_path / "forged.json.sig").write_text(make_key().sign(forged))
    assert refusal(*web, "decide", "order-2", "plan", tmp_path / "forged.json") == "approval-unsigned"
    done = answer(*web, "execute", "order-2", "plan")
    assert done["state"] == "closed"


def write_ssh_key(key: OfficerKey, path: Path) -> Path:
    """An officer's soft key as a file for ssh-keygen."""
    path.touch(mode=0o600)
    path.write_bytes(key.private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    return path
