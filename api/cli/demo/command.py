"""`kedge demo`: seven scenes, then a page of results."""

import json
import os
import shutil
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.table import Table

from api.cli.demo.fleet import build_fleet
from api.cli.demo.issuer import Issuer, ServedIssuer
from api.cli.demo.moves import finish, move_fleet, rotate
from api.cli.demo.origins import Pipeline, equip_factory, hold_genesis, sign_first
from api.cli.demo.people import Officers
from api.cli.demo.plans import TOKENS, make_policy
from api.cli.demo.stage import DemoFailed, Stage, sha256
from api.cli.errors import FileRefused
from api.cli.session import session_of

SUMMARY: Final = "summary.json"
SCENES: Final = ("genesis", "factory", "CI", "rotation", "devices", "after", "audit")
IMGTOOL: Final = Path(".tools/py/bin/imgtool")


def demo(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option(help="Directory for the artefacts; what a demo left there before goes.")] = Path(
        "demo-out"
    ),
    imgtool: Annotated[Path, typer.Option(help="MCUboot's imgtool, which builds the images.")] = IMGTOOL,
) -> None:
    """Run the main job from genesis to audit on a temporary directory, and keep what it made."""
    session = session_of(ctx)
    if not imgtool.exists():
        raise FileRefused(f"{imgtool} is missing", hint="`make tools` installs it")
    prepare_output(out)
    with tempfile.TemporaryDirectory(prefix="kedge-demo-") as work:
        stage = Stage(out.resolve(), Path(work), session.console)
        if session.json:
            stage.console.quiet = True
        try:
            play(stage, imgtool.resolve())
        except DemoFailed:
            stage.console.print(stage.logs(), markup=False)
            raise
        finally:
            stage.stop()
        summary = write_summary(stage)
    session.show(summary, *result_page(stage, imgtool))


def prepare_output(out: Path) -> None:
    """An empty output directory. Only one that a demo made is emptied. Raises FileRefused."""
    if out.exists() and any(out.iterdir()) and not (out / SUMMARY).exists():
        raise FileRefused(f"{out} holds something else than a demo's output", hint="name another directory")
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    (out / SUMMARY).write_text("{}\n")  # marks the directory as a demo's, whatever becomes of this run


def play(stage: Stage, imgtool: Path) -> None:
    """All scenes, in order."""
    staff, served = Issuer("https://staff.kedge.example"), ServedIssuer(stage.work)
    officers = Officers(stage, staff)
    scene(stage, "genesis")
    stage.make_settings(officers.roster.digest, TOKENS)
    stage.start()
    hold_genesis(stage, officers, staff, served)
    scene(stage, "factory")
    serials = equip_factory(stage, officers, staff)
    scene(stage, "CI")
    pipeline = Pipeline(stage, served, imgtool)
    sign_first(stage, pipeline)
    fleet = build_fleet(stage, staff, serials, make_policy(staff, served))
    scene(stage, "rotation")
    bundle = rotate(stage, officers, pipeline)
    scene(stage, "devices")
    move_fleet(stage, officers, fleet, bundle)
    scene(stage, "after")
    finish(stage, officers, pipeline, fleet, bundle)
    scene(stage, "audit")
    audit(stage, staff)
    served.stop()
    stage.times["end"] = time.monotonic()


def scene(stage: Stage, name: str) -> None:
    """Begin a scene."""
    stage.times[name], stage.scene = time.monotonic(), name
    stage.console.print(f"[bold]{SCENES.index(name) + 1}. {name}[/]", highlight=False)


def audit(stage: Stage, staff: Issuer) -> None:
    """Scene 7: export the journal, verify it, change one byte in a copy and see the entry named."""
    token = stage.work / "auditor.token"
    token.touch(mode=0o600)
    token.write_text(staff.issue("auditor:1", role="auditor"))
    vkey = stage.ask("GET", "/readyz")["vkey"]
    stage.write("journal.vkey", f"{vkey}\n".encode())
    trust = stage.write("journal-trust", f"log {vkey}\nquorum none\n".encode())
    stage.kedge("journal", "--url", stage.url, "--token-file", token, "export", stage.out / "journal")
    report = stage.kedge("verify", stage.out / "journal", "--trust", trust)
    stage.note("audit", f"{report['size']} entries exported; every hash, counter and signature verified offline")
    index = report["size"] // 2
    copy = stage.work / "journal-copy"
    shutil.copytree(stage.out / "journal", copy)
    change_entry(copy, index)
    try:
        stage.kedge("verify", copy, "--trust", trust)
    except DemoFailed as error:
        if f"entry {index}" not in error.message:
            raise
        stage.refuse(f"a journal with one byte of entry {index} changed", f"the verifier names entry {index}")
        return
    raise DemoFailed("a changed journal was accepted")


def change_entry(journal: Path, index: int) -> None:
    """Change one byte in the middle of an entry: each entry stands after its length, two bytes big-endian."""
    bundle = next(
        path for path in (journal / "tile/entries").rglob(f"{index // 256:03}*") if path.is_file() or path.is_dir()
    )
    path = next(item for item in bundle.iterdir()) if bundle.is_dir() else bundle
    data = bytearray(path.read_bytes())
    at = 0
    for _ in range(index % 256):
        at += 2 + int.from_bytes(data[at : at + 2], "big")
    middle = at + 2 + int.from_bytes(data[at : at + 2], "big") // 2
    data[middle] ^= 1
    path.write_bytes(bytes(data))


def write_summary(stage: Stage) -> dict[str, Any]:
    """What was done, what was refused and by which rule, and the SHA-256 of each file."""
    paths = sorted(path for path in stage.out.rglob("*") if path.is_file() and path != stage.out / SUMMARY)
    summary = {
        "done": [{"scene": name, "what": text} for name, text in stage.done],
        "refused": [
            {"scene": item.scene, "tried": item.tried, "rule": item.rule, "status": item.status}
            for item in stage.refused
        ],
        "seconds": round(stage.times["end"] - stage.times["genesis"], 1),
        "sha256": {path.relative_to(stage.out).as_posix(): sha256(path.read_bytes()) for path in paths},
    }
    stage.write(SUMMARY, json.dumps(summary, indent=1).encode() + b"\n")
    return summary


def result_page(stage: Stage, imgtool: Path) -> list[object]:
    """The page of results. Its commands are whole lines, to be copied."""
    table = Table("scene", "seconds", "done", "refused", box=None, padding=(0, 2, 0, 0))
    marks = [*SCENES, "end"]
    for name, following in pairwise(marks):
        seconds = stage.times[following] - stage.times[name]
        done = sum(told == name for told, _ in stage.done)
        refused = sum(item.scene == name for item in stage.refused)
        table.add_row(name, f"{seconds:.1f}", str(done), str(refused))
    kedge = Path(sys.executable).with_name("kedge")
    return [
        table,
        f"{len(stage.done)} steps done, {len(stage.refused)} attempts refused, each by the rule that must refuse it.",
        f"Everything that Kedge made lies in {stage.out}; {SUMMARY} lists it with SHA-256.",
        "",
        "Check it with tools that are not ours:",
        f"cd {os.path.relpath(stage.out)}",
        "openssl verify -CAfile ca/identity-root.pem -untrusted ca/device-ca.pem devices/BMS-000001.crt.pem",
        f"{os.path.relpath(imgtool, stage.out)} verify -k images/image-app-2.pub.pem images/after.bin",
        "ssh-keygen -Y verify -f approvals/allowed_signers -I alice -n kedge-approval@v1 \\",
        "  -s approvals/genesis-plan-alice.json.sig < approvals/genesis-plan-alice.json",
        "and the journal with ours, offline:",
        f"{os.path.relpath(kedge, stage.out)} verify journal --trust journal-trust",
    ]
