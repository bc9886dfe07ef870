"""Chromium without a screen, asked by the W3C WebDriver protocol: what it shows, what it says, what it fetches."""

import base64
import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx

from tests.postgres import free_port

PATIENCE_S: Final = 60.0
OPTIONS: Final = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--no-proxy-server", "--disable-background-networking", "--disable-component-update", "--no-first-run",
    "--force-device-scale-factor=1",
)  # fmt: skip
"""No sandbox: it refuses to start for root, who runs these tests in a container; the pages are our own."""


class Browser:
    """One session of a browser."""

    def __init__(self, driver: httpx.Client, session: str) -> None:
        self._driver = driver
        self._session = session

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        url = f"/session/{self._session}/{path}"
        answer = self._driver.get(url) if body is None else self._driver.post(url, json=body)
        assert answer.is_success, answer.text
        return answer.json()["value"]

    def resize(self, width: int, height: int) -> None:
        """Let the page be this large, whatever the window has around it."""
        self._cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def send_headers(self, **headers: str) -> None:
        """What goes along with every request from now on."""
        self._cdp("Network.enable")
        self._cdp("Network.setExtraHTTPHeaders", headers=headers)

    def _cdp(self, command: str, **parameters: object) -> Any:
        return self._ask("goog/cdp/execute", {"cmd": command, "params": parameters})

    def open(self, url: str) -> None:
        """Show a page."""
        self._ask("url", {"url": url})

    def evaluate(self, script: str) -> Any:
        """What a script of the test returns; the page's own policy does not concern it."""
        return self._ask("execute/sync", {"script": f"return {script}", "args": []})

    def photograph(self) -> bytes:
        """The page as PNG."""
        return base64.b64decode(self._ask("screenshot"))

    def read_console(self) -> list[dict[str, Any]]:
        """What the browser complained of since the last time."""
        found: list[dict[str, Any]] = self._ask("se/log", {"type": "browser"})
        return found

    def read_requests(self) -> list[str]:
        """The URLs that the page asked for since the last time."""
        events = (json.loads(line["message"])["message"] for line in self._ask("se/log", {"type": "performance"}))
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


@contextlib.contextmanager
def browsing(folder: Path) -> Iterator[Browser]:
    """A browser with an empty profile, until the block ends."""
    port = free_port()
    environment = {**os.environ, "HOME": str(folder)}
    command = ["chromedriver", f"--port={port}"]
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S, trust_env=False) as driver:
            session = start_session(driver, folder)
            yield Browser(driver, session)
            driver.delete(f"/session/{session}")
    finally:
        child.terminate()
        child.wait(30)


def start_session(driver: httpx.Client, folder: Path) -> str:
    """The id of a new session, as soon as the driver answers."""
    chrome = {"args": [*OPTIONS, f"--user-data-dir={folder}/profile"], "perfLoggingPrefs": {"enableNetwork": True}}
    wanted = {"goog:chromeOptions": chrome, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
    until = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(httpx.TransportError):
            answer = driver.post("/session", json={"capabilities": {"alwaysMatch": wanted}})
            assert answer.is_success, answer.text
            return str(answer.json()["value"]["sessionId"])
        assert time.monotonic() < until, "chromedriver does not answer"
        time.sleep(0.05)
