"""Counters of one API process, and the keyroom's own, as Prometheus text. Numbers only: no names, no serials."""

import re
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_NAME: Final = re.compile(r"[^a-zA-Z0-9_]")
# Signing takes milliseconds, a waiting ceremony a few seconds.
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0)


class Metrics:
    """What one API process counts. Routes appear as their templates, so that a caller can't make new series."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "kedge_api_requests", "Answered requests.", ("method", "route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "kedge_api_request_seconds", "Time to answer.", ("route",), buckets=_BUCKETS, registry=self._registry
        )
        self._problems = Counter("kedge_api_problems", "Refusals by code.", ("code",), registry=self._registry)

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """One answered request."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def count_problem(self, code: str) -> None:
        """One problem answer; `code` comes from the table of api.errors."""
        self._problems.labels(code).inc()

    def render(self, keyroom: dict[str, float] | None, *, ready: bool) -> bytes:
        """Prometheus text. `keyroom` is None when it does not answer; its own metrics get the prefix kedge_keyroom_."""
        registry = CollectorRegistry()
        Gauge("kedge_keyroom_up", "1 when the keyroom answers.", registry=registry).set(keyroom is not None)
        Gauge("kedge_keyroom_ready", "1 when keys can be used.", registry=registry).set(ready)
        seen = {"up", "ready"}
        for name, value in sorted((keyroom or {}).items()):
            clean = _NAME.sub("_", name.removeprefix("kedge_").removeprefix("keyroom_"))
            if clean not in seen:
                seen.add(clean)
                Gauge(f"kedge_keyroom_{clean}", "Reported by the keyroom.", registry=registry).set(value)
        return generate_latest(self._registry) + generate_latest(registry)
