"""The worlds of the scenarios."""

from tests.ceremonies.conftest import factory_template, factory_world, genesis_template, genesis_world, keys
from tests.interop.test_journal_foreign import verifier
from tests.scenarios.conftest import hsm_template

__all__ = ["factory_template", "factory_world", "genesis_template", "genesis_world", "hsm_template", "keys", "verifier"]
