"""Kill -9 at every line of the crash table, under load; `make soak` kills a hundred times on each engine."""

import os
import random
from pathlib import Path

import pytest

from tests.interop.test_journal_foreign import verifier
from tests.soak.audit import check_whole
from tests.soak.storms import NAMED, ROUND, list_kills, open_storm, storm
from tests.world import World, copy_world

__all__ = ["verifier"]

KILLS = int(os.environ.get("KEDGE_KILLS", "1"))
SEED = int(os.environ.get("KEDGE_SEED", "50"))  # the one kill of `make check` comes at once: a signature, T1


@pytest.mark.engines
@pytest.mark.req("AU-1", "T27")
def test_a_keyroom_that_is_killed_under_load_loses_and_repeats_nothing(
    hsm_template: World, tmp_path: Path, verifier: Path, engine_name: str
) -> None:
    world = open_storm(copy_world(hsm_template, tmp_path))
    chance = random.Random(f"{engine_name}{SEED}")  # which kill comes when
    figures = storm(world, list_kills(KILLS, chance), chance)
    audit = figures.pop("audit")
    print(engine_name, figures)  # `make storms` shows it
    assert KILLS < ROUND or set(NAMED) <= set(figures["points"]), "a line of the crash table was not met"
    print(check_whole(world, audit, verifier))
