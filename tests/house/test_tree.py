"""The tree stands alone: it names no machine and no registry, and has the pages that a reader looks for."""

import re
from pathlib import Path

import pytest

from tests.house.sources import ROOT, place, project_files

PAGES = (
    "README.md", "CHANGELOG.md", "LICENSE", "docs/architecture.md", "docs/glossary.md", "docs/threats.md",
    "docs/dependencies.md", "docs/compliance.md", "docs/trust.cddl",
)  # fmt: skip

# Written so that they do not match themselves.
FOREIGN_TO_THE_TREE = {
    "path of a machine": re.compile(r"(?<![\w.])/(?:work/|home/|Users/|root/\.)\w"),
    "address of a registry": re.compile(r"(?:pypi|npmjs)\.(?:org|com)|python[h]osted|proxy\.golang|sum\.golang"),
    "index of a lock": re.compile(r"--(?:extra-)?index[-]url|--find[-]links|\"resolved\": *\"http|registry *= *\"http"),
}
FOREIGN_LOCKS = {
    "package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "uv.lock", "poetry.lock", "pdm.lock",
    "Pipfile.lock", ".npmrc", "pip.conf",
}  # fmt: skip
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")


def _texts() -> list[tuple[Path, str]]:
    return [(path, path.read_bytes().decode("utf-8", errors="replace")) for path in project_files()]


@pytest.mark.parametrize("page", PAGES)
def test_page_exists(page: str) -> None:
    assert (ROOT / page).is_file()


def test_a_decision_is_recorded() -> None:
    assert list((ROOT / "docs" / "adr").glob("0*.md"))


@pytest.mark.req("SD-2")
@pytest.mark.parametrize("what", FOREIGN_TO_THE_TREE)
def test_no_file_names_a_machine_or_a_registry(what: str) -> None:
    found = [
        f"{place(path, number)}: {line.strip()[:100]}"
        for path, text in _texts()
        for number, line in enumerate(text.splitlines(), 1)
        if FOREIGN_TO_THE_TREE[what].search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("path of a machine", "open('/" + "home/someone/x')"),
        ("address of a registry", "https://files.python" + "hosted.org/x"),
        ("index of a lock", "--index" + "-url x"),
        ("index of a lock", '"resolved"' + ': "https://x"'),
    ],
)
def test_foreign_things_are_seen(what: str, line: str) -> None:
    assert FOREIGN_TO_THE_TREE[what].search(line)


def test_no_lock_that_records_hosts() -> None:
    assert [place(path) for path in project_files() if path.name in FOREIGN_LOCKS] == []


def test_links_between_pages_lead_somewhere() -> None:
    broken = [
        f"{place(path)} -> {target}"
        for path, text in _texts()
        if path.suffix == ".md"
        for target in LINK.findall(text)
        if not (path.parent / target).exists()
    ]
    assert broken == []
