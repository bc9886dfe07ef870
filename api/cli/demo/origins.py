"""Scenes 1 to 3: genesis, the factory, the first release from CI."""

import base64
import json
import time
from pathlib import Path
from typing import Any, Final

import httpx

from api.cli.demo.issuer import Issuer, ServedIssuer
from api.cli.demo.people import NAMES, Officers
from api.cli.demo.plans import CLASS, ORGANIZATION, PLANT, REPOSITORY, genesis_plan, make_policy
from api.cli.demo.stage import DemoFailed, Stage, sha256

DEVICES: Final = 20
ORDER: Final = "wo-2026-01"
PEM: Final = {"Content-Type": "application/x-pem-file"}


def hold_genesis(stage: Stage, officers: Officers, staff: Issuer, pipeline: ServedIssuer) -> None:
    """Scene 1, through the `kedge` command on the keyroom's machine; every officer signs plan and results."""
    plan = stage.work / "genesis.json"
    plan.write_text(json.dumps(genesis_plan(officers.roster, make_policy(staff, pipeline)), indent=1))
    local = ("ceremony", "--socket", stage.work / "keyroom.sock")
    stage.kedge(*local, "genesis", "genesis", plan)
    for step in ("plan", "results"):
        sheet = stage.work / f"genesis-{step}.json"
        stage.kedge(*local, "export", "genesis", step, sheet)
        words = " ".join(stage.kedge("officer", "show", sheet)["words"][-4:])
        for name in NAMES:
            signed = stage.kedge(
                "officer", "approve", sheet, "--key", officers.keys[name], "--officer", name, "--words", words
            )
            statement = Path(signed["statement"])
            stage.kedge(*local, "decide", "genesis", step, statement)
            for path in (statement, Path(signed["signature"])):
                stage.write(f"approvals/{path.name}", path.read_bytes())
        stage.kedge(*local, "execute", "genesis", step)
        stage.note("genesis", f"{step} signed by all {len(NAMES)} officers, executed")
    _collect_genesis(stage, officers)


def _collect_genesis(stage: Stage, officers: Officers) -> None:
    for item in stage.ask("GET", "/v1/certificates")["certificates"]:
        stage.write(f"ca/{item['name']}.pem", item["certificate"].encode())
    (genesis,) = stage.ask("GET", "/v1/trust-sets")["documents"]
    stage.write("trust/set-0-0.cose", base64.b64decode(genesis["document"]))
    shown = stage.ask("GET", "/v1/ceremonies/genesis", officers.token())
    stage.write("trust/birth-package.cose", officers.document(shown, f"birth-package-{CLASS}"))
    keys = stage.ask("GET", "/v1/keys", officers.token())["keys"]
    write_public_key(stage, keys, "image-app-1")
    stage.note("genesis", f"{len(keys)} keys in SoftHSM, three CA certificates, trust set (0, 0), birth package")


def write_public_key(stage: Stage, keys: list[dict[str, Any]], label: str) -> None:
    """An image key's public half as PEM: what a bootloader is built with."""
    der = base64.b64decode(next(item["public_key"] for item in keys if item["label"] == label))
    stage.write(f"images/{label}.pub.pem", stage.run("openssl", "pkey", "-pubin", "-inform", "DER", stdin=der))


def equip_factory(stage: Stage, officers: Officers, staff: Issuer) -> list[str]:
    """Scene 2: twenty devices certified inside an approved order of twenty, and what a station may not do."""
    now = int(time.time())
    plan = {
        "id": ORDER, "profile": "idevid", "class_name": CLASS, "plant": PLANT, "prefix": "BMS-", "digits": 6,
        "first": 1, "last": DEVICES + 5, "quantity": DEVICES, "valid_from": now - 60, "valid_to": now + 86_400,
        "organization": ORGANIZATION,
    }  # fmt: skip
    officers.hold("order-1", "work-order", plan)
    stage.note("factory", f"work order {ORDER} for {DEVICES} units approved by two officers")
    token = staff.issue("station:graz-line-1", role="station", plant=PLANT, **{"class": CLASS})
    serials = [f"BMS-{number:06}" for number in range(1, DEVICES + 1)]
    for serial in serials:
        make_device_key(stage, serial)
        _write_answer(stage, serial, _issue(stage, token, serial, stage.out / f"devices/{serial}.csr.pem").json())
    stage.note("factory", f"{DEVICES} device certificates issued, keys and requests made by openssl")
    _try_factory(stage, token, serials)
    return serials


def make_device_key(stage: Stage, name: str, *extra: str) -> Path:
    """A device's key and its request, by openssl. The key stays in the working directory."""
    key, csr = stage.work / f"{name}.key.pem", stage.out / f"devices/{name}.csr.pem"
    csr.parent.mkdir(parents=True, exist_ok=True)
    stage.run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
    target = csr if name.startswith("BMS-") and not extra else stage.work / f"{name}.csr.pem"
    stage.run("openssl", "req", "-new", "-sha256", "-key", key, "-subj", f"/CN={name}", *extra, "-out", target)
    return target


def _issue(stage: Stage, token: str, serial: str, csr: Path | bytes) -> httpx.Response:
    data = csr if isinstance(csr, bytes) else csr.read_bytes()
    path = f"/v1/work-orders/{ORDER}/devices/{serial}"
    return stage.request("PUT", path, token, content=data, headers=PEM)


def _write_answer(stage: Stage, serial: str, answer: dict[str, Any]) -> None:
    if "certificate" not in answer:
        raise DemoFailed(f"{serial}: {answer}")
    stage.write(f"devices/{serial}.crt.pem", answer["certificate"].encode())
    stage.write(f"devices/{serial}.chain.pem", answer["chain"].encode())
    stage.write(f"proofs/{serial}.tlog-proof", answer["proven"]["proof"].encode())
    stage.write(f"proofs/{serial}.leaf.json", answer["proven"]["entry"].encode())


def _try_factory(stage: Stage, token: str, serials: list[str]) -> None:
    first, second = serials[0], serials[1]
    known = stage.out / f"devices/{first}.csr.pem"
    again = _issue(stage, token, first, known).json()
    if again["certificate"].encode() != (stage.out / f"devices/{first}.crt.pem").read_bytes() or not again["replayed"]:
        raise DemoFailed("the same request got another answer")
    stage.note("factory", "the same request again: the same bytes, no quota used")
    fresh = make_device_key(stage, "another-key")
    stage.expect_refusal("same serial, another key", _issue(stage, token, first, fresh), 409, "serial-taken")
    spare = f"BMS-{DEVICES + 1:06}"
    stage.expect_refusal("another serial, a known key", _issue(stage, token, spare, known), 409, "key-known")
    stage.expect_refusal(f"unit {DEVICES + 1}", _issue(stage, token, spare, fresh), 409, "quota-exhausted")
    broken = base64.b64decode("".join((stage.out / f"devices/{second}.csr.pem").read_text().splitlines()[1:-1]))
    lines = base64.encodebytes(broken[:-1] + bytes([broken[-1] ^ 1])).decode()
    pem = f"-----BEGIN CERTIFICATE REQUEST-----\n{lines}-----END CERTIFICATE REQUEST-----\n".replace("\n\n", "\n")
    pem = _rewrap(pem)
    stage.expect_refusal("a request with a broken signature", _issue(stage, token, spare, pem.encode()), 400, "")
    greedy = make_device_key(stage, "greedy", "-addext", "basicConstraints=critical,CA:TRUE")
    stage.expect_refusal("a request for CA:TRUE", _issue(stage, token, spare, greedy), 422, "")


def _rewrap(pem: str) -> str:
    """RFC 7468: 64 characters a line."""
    head, *body, tail = pem.strip().split("\n")
    text = "".join(body)
    return "\n".join([head, *(text[at : at + 64] for at in range(0, len(text), 64)), tail, ""])


class Pipeline:
    """CI of the firmware's repository: builds with imgtool, signs with Kedge."""

    def __init__(self, stage: Stage, issuer: ServedIssuer, imgtool: Path) -> None:
        self.stage, self.issuer, self.imgtool = stage, issuer, imgtool

    def token(self, **changes: str | int | bool) -> str:
        """A job's workload identity."""
        return self.issuer.issue("repo:acme/bms-firmware", **{**REPOSITORY, **changes})

    def build(self, version: str, counter: int) -> bytes:
        """An unsigned image: padded header, hash, security counter; its firmware differs by version."""
        raw, image = self.stage.work / f"{version}.raw", self.stage.work / f"{version}.bin"
        raw.write_bytes(sha256(version.encode()).encode() * 1024)
        self.stage.run(
            self.imgtool, "sign", "--version", version, "--header-size", "0x200", "--pad-header", "--align", "8",
            "--slot-size", "0x70000", "--security-counter", str(counter), raw, image,
        )  # fmt: skip
        return image.read_bytes()

    def sign(self, version: str, counter: int, channel: str = "stable") -> dict[str, Any]:
        """Build and have signed; the answer's image and manifest as bytes."""
        image = self.build(version, counter)
        response = self.post(image, self.facts(version, counter, channel), self.token())
        if not response.is_success:
            raise DemoFailed(f"release {version}: {response.text[:400]}")
        answer: dict[str, Any] = response.json()
        for name in ("image", "manifest"):
            answer[name] = base64.b64decode(answer[name])
        self.stage.write(f"trust/manifest-{version}.cose", answer["manifest"])
        return {**answer, "unsigned": image}

    def facts(self, version: str, counter: int, channel: str = "stable", class_name: str = CLASS) -> dict[str, Any]:
        """What the request says; the keyroom reads the same from the image."""
        return {"class_name": class_name, "channel": channel, "version": version, "security_version": counter}

    def post(self, image: bytes, facts: dict[str, Any], token: str) -> httpx.Response:
        """Upload an image and ask for the release; an upload that is refused is the answer."""
        digest = sha256(image)
        headers = {"Content-Type": "application/octet-stream"}
        upload = self.stage.request("PUT", f"/v1/artefacts/{digest}", token, content=image, headers=headers)
        if not upload.is_success:
            return upload
        key = f"build-{facts['version']}-{facts['channel']}-{sha256(token.encode())[:12]}"
        body = {**facts, "artefact": digest}
        return self.stage.request("POST", "/v1/releases", token, json=body, headers={"Idempotency-Key": key})


def sign_first(stage: Stage, pipeline: Pipeline) -> dict[str, Any]:
    """Scene 3: image 2.3.0, and the requests that a release policy refuses, each by its rule."""
    release = pipeline.sign("2.3.0", 2)
    stage.write("images/unsigned.bin", release["unsigned"])
    stage.write("images/signed.bin", release["image"])
    stage.note("CI", "image 2.3.0 signed: version and counter read from the image, manifest, entry and proof returned")
    tries: tuple[tuple[str, tuple[str, int], dict[str, str], str, str], ...] = (
        ("a lower version", ("2.2.0", 2), {}, CLASS, "version-increases"),
        ("a lower security counter", ("2.3.1", 1), {}, CLASS, "security-version-holds"),
        ("the wrong class", ("2.3.2", 2), {}, "pcs-lpc55", "policy-refuses"),
        ("a token of another repository", ("2.3.3", 2), {"repository_id": "666"}, CLASS, "workload"),
    )
    for tried, (version, counter), claims, class_name, rule in tries:
        facts = pipeline.facts(version, counter, class_name=class_name)
        response = pipeline.post(pipeline.build(version, counter), facts, pipeline.token(**claims))
        stage.expect_refusal(tried, response, response.status_code if response.status_code >= 400 else 403, rule)
    stage.expect_refusal("no token", stage.request("POST", "/v1/releases", json={}), 401, "")
    return release
