"""`kedge token`: an issuer of tokens for development and for the demo. It refuses to serve production."""

import json
import secrets
import time
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from api.cli.errors import FileRefused, ProductionRefused
from api.cli.files import read_file, write_file, write_secret
from api.cli.session import session_of
from pki.jcs import parse_json
from pki.signatures import spki_sha256

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="Tokens of a development issuer. Not for production.",
)
KEY: Final = "issuer.key.pem"
JWKS: Final = "jwks.json"
LIFETIME: Final = 600

Issuer = Annotated[Path, typer.Argument(help="The issuer's directory.")]
Settings = Annotated[
    Path | None, typer.Option(envvar="KEDGE_KEYROOM_SETTINGS", help="Keyroom settings, to refuse production ones.")
]


@app.command("issuer-init")
def init_issuer(ctx: typer.Context, directory: Issuer, settings: Settings = None) -> None:
    """Make an ES256 key and its JWKS. Name their location in the policy of a development keyroom only."""
    refuse_production(settings)
    jwk = make_issuer(directory)
    session_of(ctx).show({"jwks": str(directory / JWKS), "kid": jwk["kid"]}, f"JWKS: {directory / JWKS}")


@app.command("issue")
def issue_token(
    ctx: typer.Context,
    directory: Issuer,
    claims: Annotated[Path, typer.Argument(help="JSON with iss, aud, sub and the bindings; times and jti are added.")],
    out: Annotated[Path, typer.Option(help="File for the token, made with mode 0600.")],
    settings: Settings = None,
) -> None:
    """Sign a token of ten minutes. It goes into a file, never onto the terminal."""
    refuse_production(settings)
    content = parse_json(read_file(claims, 1 << 16), 1 << 16)
    if not isinstance(content, dict) or not {"iss", "aud", "sub"} <= content.keys():
        raise FileRefused(f"{claims} is no JSON object with iss, aud and sub")
    key = serialization.load_pem_private_key(read_file(directory / KEY, 1 << 14), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise FileRefused(f"{directory / KEY} is no EC key", hint="use `kedge token issuer-init`")
    token = sign_claims(content, key, int(time.time()))
    write_secret(out, token.encode() + b"\n")
    session_of(ctx).show({"token_file": str(out), "seconds": LIFETIME}, f"token in {out}, good for {LIFETIME} s")


def make_issuer(directory: Path) -> dict[str, str]:
    """Make an issuer in a directory: its key, for its owner only, and its JWKS. Returns the public key (RFC 7517)."""
    from jwt.algorithms import ECAlgorithm

    key = ec.generate_private_key(ec.SECP256R1())
    spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    members = json.loads(ECAlgorithm.to_jwk(key.public_key()))
    jwk: dict[str, str] = {name: members[name] for name in ("kty", "crv", "x", "y")}
    jwk.update(kid=spki_sha256(spki), use="sig", alg="ES256")
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    directory.mkdir(parents=True, exist_ok=True)
    write_secret(directory / KEY, pem)
    write_file(directory / JWKS, json.dumps({"keys": [jwk]}, indent=1).encode() + b"\n")
    return jwk


def sign_claims(claims: dict[str, Any], key: ec.EllipticCurvePrivateKey, now: int) -> str:
    """A JWT (RFC 7519, ES256) over claims, with iat, nbf, exp and a fresh jti unless they stand there."""
    import jwt

    spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    added = {"iat": now, "nbf": now, "exp": now + LIFETIME, "jti": secrets.token_hex(16)}
    return jwt.encode({**added, **claims}, key, algorithm="ES256", headers={"kid": spki_sha256(spki)})


def refuse_production(settings: Path | None) -> None:
    """Raises ProductionRefused when the settings are production's, or cannot be read."""
    if settings is None:
        return
    try:
        mode = tomllib.loads(settings.read_text()).get("mode", "development")
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ProductionRefused(f"{settings}: {error}") from error
    if mode != "development":
        raise ProductionRefused(
            f"{settings} has mode {mode}", hint="production tokens come from your identity provider"
        )
