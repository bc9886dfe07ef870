"""A factory through HTTP, for `make bench`: 20 stations, each with its client certificate on a kept TLS connection.

`factory_sustained` and `factory_burst` are open loops: requests are due at a fixed rate, whatever became of earlier
ones, and a time is counted from when the request was due. `factory_highest` is a closed loop. `cfssl` is its `serve` of
the distribution on the same machine in the same run, over plain HTTP, a closed loop of as many callers.
`python -m tests.bench_factory` measures them alone.

What cfssl leaves out of a certificate: the caller's identity, work order and quota, uniqueness of serial and key, proof
of possession beyond the request's own signature, a durable record before and after, an HSM, and a proof in the answer.
"""

import asyncio
import contextlib
import json
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from rich.console import Console

from api.cli.demo.issuer import Issuer, ServedIssuer
from api.cli.demo.origins import hold_genesis
from api.cli.demo.people import Officers
from api.cli.demo.plans import CLASS, PLANT, TOKENS
from api.cli.demo.stage import Stage
from pki.signatures import spki_sha256
from tests.bench import QUANTITY, SECONDS, Line, Results, fresh_keys, measure, note, send
from tests.ceremonies.authorities import SERVER, Authority
from tests.postgres import free_port
from tests.scenarios.serving import served
from tests.world import make_request

STATIONS = 20
SUSTAINED, BURST = 50, 200
BURST_S = 5.0
PKCS10 = b"Content-Type: application/x-pem-file\r\n"


class Floor:
    """A factory floor: the service over TLS, and stations that are enrolled."""

    def __init__(self, stage: Stage, url: str, ca: Path, stations: list[Path]) -> None:
        self.stage, self.ca, self.stations = stage, ca, stations
        self.address = urlsplit(url)
        self._serials = iter(range(QUANTITY))

    async def connect(self, station: Path) -> Line:
        """A connection with a station's certificate."""
        context = ssl.create_default_context(cafile=str(self.ca))
        context.load_cert_chain(station / "certificate.pem", station / "key.pem")
        host, port = self.address.hostname, self.address.port
        return await asyncio.open_connection(host, port, ssl=context, server_hostname=host)

    async def issue(self, line: Line, csr: bytes) -> None:
        """One certificate."""
        head = b"Host: %b\r\n" % self.address.netloc.encode() + PKCS10
        status, body = await send(line, b"PUT /v1/work-orders/bench/devices/B-%07d" % next(self._serials), head, csr)
        assert status == 200, body


def measure_factory(results: Results) -> None:
    """Sustained, burst and highest rate over mutual TLS; then cfssl."""
    with open_floor() as floor:
        for name, rate, seconds in (
            ("factory_sustained", SUSTAINED, SECONDS),
            ("factory_burst", BURST, min(BURST_S, SECONDS)),
        ):
            note(results, name, asyncio.run(offer(floor, rate, seconds)))
        note(results, "factory_highest", asyncio.run(press(floor)))
    note(results, "cfssl", measure_cfssl())


async def offer(floor: Floor, rate: int, seconds: float) -> tuple[int, float, list[float]]:
    """Open loop: request n is due n / rate seconds after the start, at station n modulo STATIONS, in its order."""
    count = int(rate * seconds)
    requests = [make_request(key) for key in fresh_keys(count + STATIONS)]
    lines = [await floor.connect(station) for station in floor.stations]
    for line in lines:
        await floor.issue(line, requests.pop())
    times: list[float] = []
    started = time.perf_counter()

    async def work(station: int) -> None:
        for number in range(station, count, STATIONS):
            due = started + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await floor.issue(lines[station], requests[number])
            times.append(time.perf_counter() - due)

    await asyncio.gather(*(work(station) for station in range(STATIONS)))
    took = time.perf_counter() - started
    await hang_up(lines)
    return len(times), took, times


async def press(floor: Floor) -> tuple[int, float, list[float]]:
    """Closed loop: every station asks again as soon as it has its answer."""
    requests = [make_request(key) for key in fresh_keys(int(800 * SECONDS))]
    lines = [await floor.connect(station) for station in floor.stations]
    free = list(lines)

    async def work(number: int) -> None:
        line = free.pop()
        await floor.issue(line, requests[number])
        free.append(line)

    measured = await measure(STATIONS, work)
    await hang_up(lines)
    return measured


async def hang_up(lines: list[Line]) -> None:
    """Close connections."""
    for _, writer in lines:
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


@contextlib.contextmanager
def open_floor() -> Iterator[Floor]:
    """Keyroom and API as processes, the API over TLS, and 20 stations enrolled by ceremonies."""
    with tempfile.TemporaryDirectory(prefix="kedge-bench-") as work, contextlib.ExitStack() as closing:
        stage = Stage(Path(work) / "out", Path(work), Console(quiet=True))
        closing.callback(stage.stop)
        staff, pipeline = Issuer("https://staff.kedge.example"), ServedIssuer(stage.work)
        officers = Officers(stage, staff)
        stage.make_settings(officers.roster.digest, TOKENS)
        stage.start()
        hold_genesis(stage, officers, staff, pipeline)
        now = int(time.time())
        plan = {
            "id": "bench", "profile": "idevid", "class_name": CLASS, "plant": PLANT, "prefix": "B-", "digits": 7,
            "first": 0, "last": QUANTITY - 1, "quantity": QUANTITY, "valid_from": now - 60,
            "valid_to": now + 86_400, "organization": "Bench",
        }  # fmt: skip
        officers.hold("bench-order", "work-order", plan)
        authority = Authority(Path(work) / "tls")
        files = authority.issue("localhost", SERVER)
        stations = [enrol(stage, officers, f"bench-{number}") for number in range(STATIONS)]
        believed = stage.work / "stations.pem"
        authorities = [(stage.out / f"ca/{name}.pem").read_bytes() for name in ("service-ca", "identity-root")]
        believed.write_bytes(b"".join(authorities))
        settings = {
            "SOCKET": stage.work / "keyroom.sock", "PUBLIC_DIR": stage.work / "public", "HOST": "localhost",
            "TLS_CERT": files.certificate, "TLS_KEY": files.key, "TLS_CLIENT_CA": believed,
        }  # fmt: skip
        http = closing.enter_context(served(settings, authority.ca))
        yield Floor(stage, str(http.base_url), authority.ca, stations)


def enrol(stage: Stage, officers: Officers, name: str) -> Path:
    """A station with key and certificate."""
    path = stage.work / name
    path.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    (path / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    plan = {"station": name, "plant": PLANT, "lines": ["1"], "classes": [CLASS], "key": spki_sha256(public)}
    officers.hold(f"enrol-{name}", "station-enrol", plan)
    headers = {"Content-Type": "application/x-pem-file"}
    issued = stage.ask("PUT", f"/v1/stations/{name}/certificate", content=make_request(key), headers=headers)
    (path / "certificate.pem").write_text(issued["certificate"])
    return path


def measure_cfssl() -> tuple[int, float, list[float]]:
    """`cfssl serve` with a P-256 CA in a file, signing requests of as many callers as there are stations."""
    with tempfile.TemporaryDirectory(prefix="kedge-bench-") as work, contextlib.ExitStack() as closing:
        folder, port = Path(work), free_port()
        request = {"CN": "Bench CA", "key": {"algo": "ecdsa", "size": 256}}
        made = json.loads(run_cfssl("gencert", "-initca", "-", given=json.dumps(request).encode()))
        (folder / "ca.pem").write_text(made["cert"])
        (folder / "ca-key.pem").write_text(made["key"])
        profile = {"signing": {"default": {"usages": ["digital signature"], "expiry": "87600h"}}}
        (folder / "config.json").write_text(json.dumps(profile))
        options = ["-ca", "ca.pem", "-ca-key", "ca-key.pem", "-config", "config.json", "-loglevel", "5"]
        command = ["cfssl", "serve", "-address", "127.0.0.1", "-port", str(port), *options]
        child = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        closing.callback(child.wait)
        closing.callback(child.terminate)
        return asyncio.run(press_cfssl(port))


async def press_cfssl(port: int) -> tuple[int, float, list[float]]:
    """Closed loop on kept connections."""
    bodies = [
        json.dumps({"certificate_request": make_request(key).decode()}).encode()
        for key in fresh_keys(int(3000 * SECONDS))
    ]
    lines = [await knock("127.0.0.1", port) for _ in range(STATIONS)]
    head = b"Host: 127.0.0.1\r\nContent-Type: application/json\r\n"

    async def work(number: int) -> None:
        line = lines.pop()
        status, body = await send(line, b"POST /api/v1/cfssl/sign", head, bodies[number % len(bodies)])
        assert (status, body[:15]) == (200, b'{"success":true'), body
        lines.append(line)

    measured = await measure(STATIONS, work)
    await hang_up(lines)
    return measured


async def knock(host: str, port: int) -> Line:
    """A connection, as soon as somebody listens."""
    until = time.monotonic() + 30
    while True:
        try:
            return await asyncio.open_connection(host, port)
        except ConnectionError:
            assert time.monotonic() < until, f"nobody listens on {port}"
            await asyncio.sleep(0.05)


def run_cfssl(*arguments: str, given: bytes) -> bytes:
    """Run cfssl."""
    return subprocess.run(["cfssl", *arguments], input=given, capture_output=True, check=True, timeout=60).stdout


if __name__ == "__main__":
    measure_factory({})
