"""The import contracts of pyproject.toml hold, and each of them breaks when it should."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.house.sources import ROOMS, ROOT

CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]

# Contract, module, and an import that the contract forbids there. The module is made when it does not exist.
BREAKS = [
    ("rooms", "ceremonies/store.py", "import api.errors"),
    ("rooms", "pki/log/merkle.py", "import hsm.errors"),
    ("rooms", "hsm/module.py", "import pki.errors"),
    ("pure", "pki/log/merkle.py", "import os"),
    ("pure", "pki/x509/certificates.py", "from random import choice"),
    ("strongbox", "ceremonies/journal.py", "from hsm import strongbox"),
    ("strongbox", "api/routes/keys.py", "import hsm"),
    ("pkcs11", "ceremonies/door.py", "import pkcs11"),
    ("web", "api/app.py", "from ceremonies import store"),
    ("web", "api/routes/keys.py", "import ceremonies.door"),
    ("web", "api/auth.py", "import ceremonies.process"),
    ("web", "api/cli/__init__.py", "import ceremonies.store"),
    ("counter", "api/app.py", "import api.cli"),
    ("keyroom", "ceremonies/door.py", "import ceremonies.issuance"),
    ("keyroom", "ceremonies/journal.py", "import ceremonies.door"),
    ("keyroom", "ceremonies/unplaced.py", "import json"),
    ("rulebook", "pki/log/merkle.py", "import pki.trust.cose"),
    ("rulebook", "pki/drafts.py", "import pki.x509"),
    ("frameworks", "ceremonies/server.py", "from fastapi import FastAPI"),
    ("frameworks", "pki/names.py", "import rich"),
]


def lint_imports(folder: Path, *contracts: str) -> subprocess.CompletedProcess[str]:
    program = str(Path(sys.executable).parent / "lint-imports")
    chosen = [part for contract in contracts for part in ("--contract", contract)]
    command = [program, "--no-cache", "--no-logo", *chosen]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_every_contract_is_kept() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_contract_is_tried() -> None:
    assert {contract["id"] for contract in CONTRACTS} == {contract for contract, _, _ in BREAKS}


@pytest.mark.parametrize(("contract", "module", "line"), BREAKS)
def test_a_forbidden_import_breaks_the_contract(contract: str, module: str, line: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    imported = line.split()[1].replace(".", "/")
    if imported.split("/")[0] in ROOMS and not (tmp_path / imported).is_dir():
        (tmp_path / f"{imported}.py").touch()
    with (tmp_path / module).open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")

    result = lint_imports(tmp_path, contract)

    assert result.returncode == 1, result.stdout + result.stderr
    assert "BROKEN" in result.stdout
