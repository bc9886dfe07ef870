"""The demo's issuers: real tokens, and a JWKS that only the right CA vouches for."""

import ssl
from pathlib import Path

import httpx
import jwt
import pytest
from jwt import PyJWK

from api.cli.demo.issuer import AUDIENCE, Issuer, ServedIssuer


def test_a_token_verifies_under_the_published_key() -> None:
    issuer = Issuer("https://staff.example")
    token = issuer.issue("staff:alice", role="officer")
    claims = jwt.decode(token, PyJWK(issuer.jwk).key, algorithms=["ES256"], audience=AUDIENCE)
    assert (claims["iss"], claims["sub"], claims["role"]) == ("https://staff.example", "staff:alice", "officer")
    assert issuer.issue("x") != issuer.issue("x")


def test_the_jwks_is_served_over_tls_under_its_own_ca(tmp_path: Path) -> None:
    issuer = ServedIssuer(tmp_path)
    try:
        context = ssl.create_default_context(cadata=issuer.ca_pem)
        with httpx.Client(verify=context, trust_env=False) as client:
            assert client.get(issuer.jwks_url).json() == {"keys": [issuer.jwk]}
            assert client.get(f"{issuer.name}/other").status_code == 404
        with httpx.Client(trust_env=False) as stranger, pytest.raises(httpx.ConnectError):
            stranger.get(issuer.jwks_url)
    finally:
        issuer.stop()
    assert (tmp_path / "issuer-tls.pem").stat().st_mode & 0o077 == 0
