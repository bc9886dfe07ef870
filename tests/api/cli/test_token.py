import json
import stat
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.api.cli.running import answer, kedge, refusal

CLAIMS = {"iss": "https://ci.example", "aud": "kedge", "sub": "repo:bms", "repository": "example/bms"}


@pytest.fixture
def issuer(tmp_path: Path) -> Path:
    answer("token", "issuer-init", tmp_path / "issuer")
    (tmp_path / "claims.json").write_text(json.dumps(CLAIMS))
    return tmp_path / "issuer"


def issue(issuer: Path) -> str:
    out = issuer.parent / "token"
    answer("token", "issue", issuer, issuer.parent / "claims.json", "--out", out)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    return out.read_text().strip()


def test_token_verifies_against_the_jwks(issuer: Path) -> None:
    token = issue(issuer)
    (key,) = jwt.PyJWKSet.from_dict(json.loads((issuer / "jwks.json").read_text())).keys
    claims: dict[str, Any] = jwt.decode(token, key, algorithms=["ES256"], audience="kedge", issuer="https://ci.example")
    assert claims["repository"] == "example/bms"
    assert 0 < claims["exp"] - time.time() <= 600
    assert jwt.get_unverified_header(token)["kid"] == key.key_id
    assert "d" not in json.loads((issuer / "jwks.json").read_text())["keys"][0]


def test_each_token_has_its_own_jti(issuer: Path) -> None:
    first, second = (jwt.decode(issue(issuer), options={"verify_signature": False}) for _ in range(2))
    assert first["jti"] != second["jti"]


def test_key_is_for_its_owner_only(issuer: Path) -> None:
    assert stat.S_IMODE((issuer / "issuer.key.pem").stat().st_mode) == 0o600


@pytest.mark.req("AZ-8")
@pytest.mark.parametrize("content", ['mode = "production"\n', "mode = \n", None])
def test_production_settings_are_refused(tmp_path: Path, content: str | None) -> None:
    settings = tmp_path / "keyroom.toml"
    if content is not None:
        settings.write_text(content)
    code = refusal("token", "issuer-init", tmp_path / "issuer", "--settings", settings)
    assert code == "production-refused"
    assert not (tmp_path / "issuer").exists()


def test_token_never_reaches_the_terminal(issuer: Path) -> None:
    result = kedge("token", "issue", issuer, issuer.parent / "claims.json", "--out", issuer.parent / "t")
    assert (issuer.parent / "t").read_text().strip() not in result.output


@pytest.mark.parametrize("claims", ["[]", "{}", '{"iss":"a","aud":"b"}'])
def test_claims_must_say_who_and_for_whom(issuer: Path, claims: str) -> None:
    (issuer.parent / "claims.json").write_text(claims)
    out = issuer.parent / "t"
    assert refusal("token", "issue", issuer, issuer.parent / "claims.json", "--out", out) == "file-refused"
