"""What the demo's officers decide is what the keyroom accepts."""

import json
from pathlib import Path

from api.cli.demo.issuer import Issuer, ServedIssuer
from api.cli.demo.plans import TOKENS, genesis_plan, key, make_development_policy, make_policy, set_plan
from ceremonies.officers import Officer, Roster
from ceremonies.plans import GenesisPlan, SetPlan, read_plan
from ceremonies.policy import lint_policy, parse_policy
from tests.ceremonies.ssh_keys import make_key


def test_policy_and_plan_parse_and_fit_each_other(tmp_path: Path) -> None:
    served = ServedIssuer(tmp_path)
    served.stop()
    policy = make_policy(Issuer("https://staff.example"), served)
    roster = Roster(
        tuple(Officer(name, f"o-{name}", (make_key().line,), ("officer",)) for name in ("alice", "bob", "carol"))
    )
    assert parse_policy(policy.document) == policy
    lint_policy(policy, roster)
    plan: GenesisPlan = read_plan(json.dumps(genesis_plan(roster, policy)).encode(), GenesisPlan)
    assert len({item.label for item in plan.keys}) == len(plan.keys) == 17
    assert {item.token for item in plan.keys} == set(TOKENS)


def test_a_key_goes_to_the_token_that_holds_its_role() -> None:
    assert key("recovery-1", "recovery")["token"] == "kedge-recovery"
    assert "scope" not in key("oem-root-1", "oem-root")
    assert read_plan(json.dumps(set_plan((2, 3, 4), "image-app-2")).encode(), SetPlan).recovery.threshold == 2


def test_the_development_policy_differs_in_its_issuer_only(tmp_path: Path) -> None:
    staff, served = Issuer("https://staff.example"), ServedIssuer(tmp_path)
    served.stop()
    demo, development = make_policy(staff, served), make_development_policy(staff.name, staff.jwk)
    assert (development.quorums, development.releases, development.fleet) == (demo.quorums, demo.releases, demo.fleet)
    roles = [grant.role for grant in development.issuer_of(staff.name).grants]
    assert sorted(roles) == ["auditor", "gateway", "officer", "operator", "pipeline", "station"]
