"""One run of the command line: how it prints, and whom it asks over HTTP or over the keyroom's socket."""

import ssl
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar
from urllib.parse import urlsplit

import msgspec
import typer
from rich.console import Console

from api.cli.errors import ConnectionMissing, FileRefused, ServiceAway, ServiceRefused, TokenInTheClear, TokenUnreadable
from ceremonies.client import ask_once
from ceremonies.commands import AnyCommand

if TYPE_CHECKING:
    import httpx

TOKEN_LIMIT: Final = 8192
TIMEOUT: Final = 60.0
CERTIFICATE, KEY = "certificate.pem", "key.pem"
"""What a station's directory holds."""
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
Value = TypeVar("Value")


@dataclass(slots=True)
class Session:
    """Set by the options of `kedge` and of the group; commands find it in `ctx.obj`.

    identity: a station's directory; its certificate is shown in the TLS handshake.
    """

    json: bool = False
    url: str = ""
    token_file: str = ""
    ca: Path | None = None
    socket: Path | None = None
    identity: Path | None = None
    console: Console = field(default_factory=lambda: Console(highlight=False, emoji=False, soft_wrap=True))

    def show(self, value: object, *human: object) -> None:
        """Print `value` as one line of JSON (bytes as base64) when --json was given, else what a person reads."""
        if self.json:
            sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
            return
        for part in human:
            self.console.print(part, markup=False)

    def ask(self, command: AnyCommand, kind: type[Value]) -> Value:
        """Ask the keyroom over its socket. Raises Refused, KeyroomDown, ConnectionMissing."""
        if self.socket is None:
            raise ConnectionMissing(
                "no socket was given", hint="put --socket PATH before the verb, on the keyroom's machine"
            )
        result = ask_once(self.socket, command)
        if not isinstance(result, kind):
            raise ServiceRefused("answer-malformed", f"the keyroom answered {type(result).__name__}")
        return result

    def get(self, path: str, kind: type[Value], **parameters: str | int) -> Value:
        """GET as JSON of a kind. Raises ServiceRefused, ServiceAway."""
        return read_answer(self.send("GET", path, params=parameters), kind)

    def post(self, path: str, kind: type[Value], body: object = None, *, key: str = "") -> Value:
        """POST JSON; `key` is the idempotency key. Raises ServiceRefused, ServiceAway."""
        headers = {"Idempotency-Key": key} if key else {}
        if body is None:
            return read_answer(self.send("POST", path, headers=headers), kind)
        headers["Content-Type"] = "application/json"
        return read_answer(self.send("POST", path, content=msgspec.json.encode(body), headers=headers), kind)

    def put(self, path: str, kind: type[Value], data: bytes, media_type: str) -> Value:
        """PUT bytes. Raises ServiceRefused, ServiceAway."""
        return read_answer(self.send("PUT", path, content=data, headers={"Content-Type": media_type}), kind)

    def send(self, method: str, path: str, *, also: Sequence[int] = (), **arguments: Any) -> "httpx.Response":
        """One request, with the token. `also`: statuses that are an answer, too.

        Raises ServiceAway, and ServiceRefused with the problem's own code.
        """
        import httpx

        if not self.url and self.socket is not None:
            raise ConnectionMissing(
                "this command asks over HTTP, not over the keyroom's socket",
                hint="put --url and --token-file before the verb; the socket answers ceremony genesis, list, show, "
                "export, decide, execute, key list, export, journal export and events tail",
            )
        if not self.url:
            raise ConnectionMissing(
                "no service was named", hint="put --url https://... before the verb, or set KEDGE_URL"
            )
        headers = {**arguments.pop("headers", {}), **self._authorization()}
        try:
            with httpx.Client(base_url=self.url, verify=self._trust(), timeout=TIMEOUT, trust_env=False) as client:
                response = client.request(method, path, headers=headers, **arguments)
        except httpx.InvalidURL as error:
            raise ConnectionMissing(
                f"{self.url} is no URL: {error}", hint="put --url https://... before the verb"
            ) from error
        except httpx.HTTPError as error:
            raise ServiceAway(f"{self.url}: {error}", hint="is `kedge serve` running there?") from error
        if response.is_success or response.status_code in also:
            return response
        raise _refusal(response)

    def _authorization(self) -> dict[str, str]:
        if not self.token_file:
            return {}
        address = urlsplit(self.url)
        if address.scheme != "https" and address.hostname not in _LOOPBACK:
            raise TokenInTheClear(f"{self.url} is not https", hint="tokens travel over TLS only")
        return {"Authorization": f"Bearer {read_token(self.token_file)}"}

    def _trust(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=str(self.ca) if self.ca else None)
        except OSError as error:
            raise FileRefused(f"{self.ca}: no usable certificate: {error}", hint="does --ca name a file?") from error
        if self.identity is not None:
            try:
                context.load_cert_chain(self.identity / CERTIFICATE, self.identity / KEY)
            except OSError as error:
                raise FileRefused(
                    f"{self.identity}: no usable certificate: {error}", hint="`kedge station certify` fetches it"
                ) from error
        return context


def read_answer(response: "httpx.Response", kind: type[Value]) -> Value:
    """The JSON of an answer; bytes come as base64. Raises ServiceRefused when it is of another kind."""
    try:
        return msgspec.json.decode(response.content, type=kind)
    except msgspec.MsgspecError as error:
        raise ServiceRefused("answer-malformed", f"the service did not answer as expected: {error}") from error


def read_token(source: str) -> str:
    """A token from a file, or from standard input when `source` is a dash; never from an argument."""
    try:
        text = sys.stdin.read(TOKEN_LIMIT + 2) if source == "-" else Path(source).read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise TokenUnreadable(f"token file {source}: {error}") from error
    token = text.strip()
    if not 0 < len(token) <= TOKEN_LIMIT or not token.isprintable() or " " in token:
        raise TokenUnreadable(f"token file {source} holds no token", hint="one line, a JWT")
    return token


def _refusal(response: "httpx.Response") -> ServiceRefused | ServiceAway:
    try:
        problem = response.json()
        code, message, hint = str(problem["code"]), str(problem["detail"]), str(problem.get("hint", ""))
    except (ValueError, KeyError, TypeError):
        code, message, hint = f"http-{response.status_code}", f"the service answered {response.status_code}", ""
    if response.status_code == 503:
        wait = response.headers.get("Retry-After", "")
        return ServiceAway(f"{code}: {message}", hint=f"repeat it in {wait} s" if wait.isdigit() else hint)
    return ServiceRefused(code, message, hint=hint)


def session_of(ctx: typer.Context) -> Session:
    """The session that `kedge` made for this run."""
    session: Session = ctx.find_object(Session) or Session()
    return session


def connect(
    ctx: typer.Context,
    url: Annotated[str, typer.Option(envvar="KEDGE_URL", help="The API, https://...")] = "",
    token_file: Annotated[str, typer.Option(envvar="KEDGE_TOKEN_FILE", help="File with a token; - for stdin.")] = "",
    ca: Annotated[Path | None, typer.Option(envvar="KEDGE_CA", help="CA certificates to trust instead.")] = None,
    socket: Annotated[Path | None, typer.Option(envvar="KEDGE_SOCKET", help="The keyroom's own socket.")] = None,
) -> None:
    """Options of every group that asks the service; they stand before the verb."""
    session = session_of(ctx)
    session.url, session.token_file, session.ca, session.socket = url, token_file, ca, socket
