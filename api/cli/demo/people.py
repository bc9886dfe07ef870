"""Officers with their own SSH keys, and how they carry out a ceremony."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from api.cli.demo.issuer import Issuer
from api.cli.demo.stage import DemoFailed, Stage
from ceremonies.approvals import NAMESPACE, parse_template, statement_bytes
from ceremonies.officers import Officer, Roster

NAMES: Final = ("alice", "bob", "carol")


class Officers:
    """Three persons. Their private keys are files of ssh-keygen's; Kedge never sees them."""

    def __init__(self, stage: Stage, staff: Issuer) -> None:
        self.stage, self.staff = stage, staff
        self.keys = {name: stage.work / f"{name}.ssh" for name in NAMES}
        for name, path in self.keys.items():
            stage.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path)
        self.roster = Roster(tuple(self._officer(name) for name in NAMES))
        stage.write("approvals/allowed_signers", self.roster.allowed_signers(NAMESPACE).encode())

    def _officer(self, name: str) -> Officer:
        line = " ".join(Path(f"{self.keys[name]}.pub").read_text().split()[:2])
        return Officer(id=name, name=f"officer-{name}", keys=(line,), roles=("officer",))

    def token(self, name: str = "alice") -> str:
        """What an officer's session sends."""
        return self.staff.issue(f"staff:{name}", role="officer", officer=name)

    def hold(
        self, name: str, action: str, plan: Mapping[str, Any], approving: tuple[str, ...] = ("bob", "carol")
    ) -> Any:
        """Propose over HTTP, approve each step with ssh-keygen, execute. Returns the closed ceremony."""
        body = {"id": name, "action": action, "plan": base64.b64encode(json.dumps(plan).encode()).decode()}
        shown = self.stage.ask("POST", "/v1/ceremonies", self.token(), json=body)
        for _ in range(2):
            step = next((item for item in shown["steps"] if not item["done"]), None)
            if step is None:
                return shown
            for officer in approving:
                self.approve(name, step, officer)
            path = f"/v1/ceremonies/{name}/steps/{step['step']}/execution"
            shown = self.stage.ask("POST", path, self.token())
        if shown["state"] != "closed":
            raise DemoFailed(f"ceremony {name} is {shown['state']}")
        return shown

    def approve(self, ceremony: str, step: Mapping[str, Any], officer: str) -> None:
        """Sign the step's statement with ssh-keygen and hand it in."""
        template = parse_template(base64.b64decode(step["template"]))
        name = f"{ceremony}-{step['step']}-{officer}"
        path = self.stage.write(f"approvals/{name}.json", statement_bytes(template, officer, "approve"))
        self.stage.run("ssh-keygen", "-q", "-Y", "sign", "-n", NAMESPACE, "-f", self.keys[officer], path)
        signature = Path(f"{path}.sig").read_bytes()
        body = {
            name: base64.b64encode(data).decode()
            for name, data in (("statement", path.read_bytes()), ("signature", signature))
        }
        self.stage.ask(
            "POST", f"/v1/ceremonies/{ceremony}/steps/{step['step']}/approvals", self.token(officer), json=body
        )

    def document(self, ceremony: Mapping[str, Any], name: str) -> bytes:
        """A document that a ceremony made."""
        for _, found, digest in ceremony["documents"]:
            if found == name:
                answer = self.stage.ask("GET", f"/v1/documents/{digest}", self.token())
                return base64.b64decode(answer["document"])
        raise DemoFailed(f"ceremony {ceremony['id']} made no {name}")
