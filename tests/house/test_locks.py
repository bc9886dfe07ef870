"""Every version is locked by hash, and every direct dependency has its reason written down."""

import re
from pathlib import Path

import pytest

from tests.house.sources import ROOT

REQUIREMENTS = ROOT / "requirements"
LOCKS = ("base", "build", "dev", "foreign", "witness")
PINNED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+) \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")
NAME = re.compile(r"^[A-Za-z0-9._-]+")


def normal(name: str) -> str:
    """The comparable form of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock(name: str) -> dict[str, str]:
    """Version by distribution."""
    lines = (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return {normal(found["name"]): found["version"] for line in lines if (found := PINNED.match(line))}


def read_direct(name: str) -> set[str]:
    """The distributions that the .in file itself names."""
    lines = (REQUIREMENTS / f"{name}.in").read_text(encoding="utf-8").splitlines()
    return {normal(found.group()) for line in lines if (found := NAME.match(line)) and not line.startswith(("-", "#"))}


@pytest.mark.req("SD-2")
@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_versions_and_hashes_only(name: str) -> None:
    lines = (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    strange = [
        line for line in lines if not (PINNED.match(line) or HASH.match(line) or not line.partition("#")[0].strip())
    ]
    assert strange == []
    assert read_lock(name)


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_covers_what_was_asked_for(name: str) -> None:
    assert read_direct(name) - set(read_lock(name)) == set()


@pytest.mark.parametrize("part", ["base", "build"])
def test_development_and_runtime_use_the_same_versions(part: str) -> None:
    assert read_lock(part).items() <= read_lock("dev").items()


@pytest.mark.req("SD-3")
@pytest.mark.parametrize(("name", "floor"), [("pyjwt", (2, 13, 0)), ("starlette", (0, 49, 1)), ("cryptography", (50,))])
def test_locked_versions_are_above_known_bad_ones(name: str, floor: tuple[int, ...]) -> None:
    assert tuple(int(part) for part in read_lock("base")[name].split(".")) >= floor


@pytest.mark.parametrize("name", LOCKS)
def test_every_direct_dependency_has_a_reason(name: str) -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    reasons = {normal(found) for found in re.findall(r"^\| `([^`]+)` \| \S", page, re.MULTILINE)}
    assert read_direct(name) - reasons == set()


def test_the_list_of_npm_hashes_is_complete() -> None:
    lines = (ROOT / "tools" / "node" / "integrity.txt").read_text(encoding="utf-8").splitlines()
    assert lines == sorted(lines)
    assert all(re.fullmatch(r"\S+ [0-9][\w.-]* sha512-[A-Za-z0-9+/]{86}==", line) for line in lines)


@pytest.mark.parametrize(
    ("name", "expected"), [("Prometheus_Client", "prometheus-client"), ("ruamel.yaml", "ruamel-yaml")]
)
def test_normal(name: str, expected: str) -> None:
    assert normal(name) == expected


def test_requirements_are_where_the_tests_look() -> None:
    assert {Path(path).stem for path in REQUIREMENTS.glob("*.in")} == set(LOCKS)
