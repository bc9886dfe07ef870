"""What holds for every test: no test is skipped, how much work a property does, and the engines of the store."""

import gc
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import pytest
import structlog
from coverage import Coverage
from hypothesis import HealthCheck, settings

from tests.postgres import ENGINES, SQLITE, Cluster, find_space, running_cluster

if TYPE_CHECKING:
    from tests.ceremonies.templates import Templates
    from tests.engines import Engine

MEASURED_PROCESSES: Final = "COVERAGE_PROCESS_CONFIG"
"""By this variable of the environment, processes that a test starts measure themselves."""

# A busy two-core machine is slow at times; that is no fault of the code. `make soak` asks for many more examples.
settings.register_profile("check", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("soak", parent=settings.get_profile("check"), max_examples=5_000)
settings.load_profile("check")


def pytest_configure() -> None:
    """What tests write stays in memory where there is room: they would wait for a disk a sixth of their time. And plain
    tracebacks in the log of a test: structlog's own take longer than most requests.
    """
    if space := find_space():
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", space)
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure([renderer])


def pytest_collection_finish() -> None:
    """Thousands of tests and modules stay until the end: the collector need not look at them again and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Under the tracer tests take twice as long, and their processes too. What shows nothing new by it does without:
    what is marked `unmeasured`, and all variants of a test but the first.
    """
    if not is_unmeasured(item):
        return (yield)
    of_processes = os.environ.pop(MEASURED_PROCESSES, None)
    stopped: list[Coverage] = []
    while measuring := Coverage.current():  # a process of xdist has two: when one stops, the one before it goes on
        measuring.stop()
        stopped.append(measuring)
    try:
        return (yield)
    finally:
        for measuring in reversed(stopped):
            measuring.start()
        if of_processes is not None:
            os.environ[MEASURED_PROCESSES] = of_processes


def is_unmeasured(item: pytest.Item) -> bool:
    """Whether a test runs without the tracer."""
    variant = item.callspec.indices if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    return item.get_closest_marker("unmeasured") is not None or any(variant.values())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that is skipped shows nothing: a missing tool is a failure, an expected failure is a defect."""
    report = yield
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped or expected to fail in {call.when}; neither is allowed here"
    return report


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What is marked `engines` and uses a store runs on each of them."""
    if "engine_name" in metafunc.fixturenames and metafunc.definition.get_closest_marker("engines"):
        metafunc.parametrize("engine_name", ENGINES)


@pytest.fixture
def engine_name() -> str:
    """The engine of tests that are not marked `engines`."""
    return SQLITE


@pytest.fixture
def engine(engine_name: str, find_cluster: Callable[[], Cluster]) -> "Engine":
    """The engine that this test runs on."""
    from tests.engines import Engine

    return Engine(engine_name, find_cluster)


@pytest.fixture(scope="session")
def find_cluster() -> Iterator[Callable[[], Cluster]]:
    """The PostgreSQL cluster of this process; it starts when somebody asks."""
    with ExitStack() as stack:
        yield cache(lambda: stack.enter_context(running_cluster()))


@pytest.fixture
def cluster(find_cluster: Callable[[], Cluster]) -> Cluster:
    """The running PostgreSQL cluster."""
    return find_cluster()


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> "Templates":
    """Stopped worlds to copy, by engine and kind of keys."""
    from tests.ceremonies.templates import Templates  # the whole keyroom: tests of the other rooms do without it

    return Templates(tmp_path_factory.mktemp)
