"""`kedge station board`: the screen of a line for a browser on the same machine, which needs no credential for it.

The screen is a station without classes: its key and certificate stay in its directory, and this process shows them in
the TLS handshake. The browser asks on loopback only, sends nothing and gets one page. When the service does not answer,
or lets the screen in no more, the page says so and how old its figures are; a browser alone would show its own error.
"""

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import parse_qs, urlsplit

import msgspec
import typer

from api.cli.errors import CliError, ServiceAway
from api.cli.provisioning.identity import check_identity
from api.cli.provisioning.intake import check_name
from api.cli.session import Session, session_of
from ceremonies.commands import LineBoardShown

if TYPE_CHECKING:
    from api.pages.screens import Screen

HOST: Final = "127.0.0.1"
NAMES: Final = frozenset({"127.0.0.1", "localhost"})
"""What may stand in the Host header: a page elsewhere that resolves to loopback is not shown anything."""
EVERY_S: Final = 4.0
OLD_S: Final = 3600.0
REQUEST_S: Final = 10


class Board(msgspec.Struct, frozen=True):
    """The API's answer."""

    board: LineBoardShown
    age: float
    away: bool


class Watch:
    """Asks for the figures of a plant, and knows how old they are. `clock`: seconds that only rise.

    `sheet`: the one of several that is asked for. A page that shows the last turn of a sheet names the next.
    """

    def __init__(self, session: Session, plant: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._session = session
        self._plant = plant
        self._clock = clock
        self.sheet = 0
        self._last: tuple[float, Board] | None = None
        self._error: CliError | None = None

    def look(self) -> None:
        """Ask once."""
        try:
            check_identity(self._session.identity)
            board = self._session.get(f"/v1/line-boards/{self._plant}", Board, sheet=self.sheet)
        except CliError as error:
            self._error = error
            return
        self._last, self._error = (self._clock() - board.age, board), None

    def show(self) -> "Screen":
        """What is known now."""
        from api.pages.screens import Screen, Trouble

        at, last = self._last or (0.0, None)
        age = self._clock() - at
        board = last.board if last is not None and age < OLD_S else None
        if isinstance(self._error, ServiceAway):
            return Screen(self._plant, board, age, Trouble.SERVICE)
        if self._error is not None:
            return Screen(self._plant, board, age, Trouble.REFUSED, f"{self._error.code}: {self._error.message}.")
        if last is None or last.away or age > 3 * EVERY_S:  # an answer is overdue
            return Screen(self._plant, board, age, Trouble.KEYROOM if last and last.away else Trouble.SERVICE)
        return Screen(self._plant, board, age)

    def keep_looking(self, stopped: threading.Event) -> None:
        """Ask again and again, until told to stop."""
        while not stopped.is_set():
            self.look()
            stopped.wait(EVERY_S)


class Page(BaseHTTPRequestHandler):
    """One request of the browser."""

    server: "Screens"
    timeout = REQUEST_S

    def do_GET(self) -> None:
        """The page, at / and nowhere else."""
        from api.pages.screens import SCREEN_HEADERS, render_screen

        address = urlsplit(self.path)
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if address.path != "/" or host not in NAMES:
            self.send_error(404 if host in NAMES else 403)
            return
        screen = self.server.watch.show()
        turn = parse_qs(address.query).get("turn", ["0"])[0]
        text, following = render_screen(screen, int(turn) if turn.isascii() and turn.isdigit() and len(turn) < 5 else 0)
        self.server.watch.sheet = following.sheet
        self.send_response(200)
        headers = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store", **SCREEN_HEADERS}
        for name, value in (headers | {"Refresh": f"{screen.seconds}; url=/?turn={following.turn}"}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """A page every few seconds is not worth a line."""


class Screens(ThreadingHTTPServer):
    """Serves the page of a watch on loopback."""

    daemon_threads = True

    def __init__(self, watch: Watch, port: int) -> None:
        super().__init__((HOST, port), Page)
        self.watch = watch


def board(
    ctx: typer.Context,
    plant: Annotated[str, typer.Argument(help="The plant whose lines are shown.")],
    port: Annotated[int, typer.Option(help="Port on this machine, for its browser.", min=0, max=65535)] = 8310,
) -> None:
    """Show a plant's stations and work orders to a browser on this machine, at http://127.0.0.1:8310/.

    With --identity of a screen: a station that was enrolled without classes, which can issue nothing.
    """
    session = session_of(ctx)
    check_name(plant, "the plant")
    watch, stopped = Watch(session, plant), threading.Event()
    with Screens(watch, port) as server:
        looking = threading.Thread(target=watch.keep_looking, args=(stopped,), daemon=True)
        looking.start()
        url = f"http://{HOST}:{server.server_port}/"
        session.show({"url": url}, f"line board of {plant}: {url}")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            session.show({"stopped": True}, "stopped")
        finally:
            stopped.set()
