"""What holds for every test: no test is skipped, and how much work a property does."""

from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A busy two-core machine is slow at times; that is no fault of the code. `make soak` asks for many more examples.
settings.register_profile("check", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("soak", parent=settings.get_profile("check"), max_examples=5_000)
settings.load_profile("check")


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
