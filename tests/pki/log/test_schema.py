"""The published schema is the one that the code makes."""

import json
from pathlib import Path

from pki.log.leaves import ENTRY_TYPES
from pki.log.schema import leaf_schema

ROOT = Path(__file__).parents[3]


def test_published_schema_is_the_generated_one() -> None:
    assert (ROOT / "docs/leaf.schema.json").read_bytes() == leaf_schema()


def test_schema_knows_every_type_and_field() -> None:
    schema = json.loads(leaf_schema())
    assert schema["properties"]["type"]["anyOf"][0]["enum"] == sorted(ENTRY_TYPES)
    assert set(schema["properties"]) == {
        "v",
        "log",
        "seq",
        "prev",
        "id",
        "type",
        "ref",
        "req",
        "cer",
        "chg",
        "ts",
        "mono",
        "node",
        "actor",
        "keys",
        "op",
        "apr",
        "out",
    }
    assert all(part.get("additionalProperties") is False for name, part in schema["$defs"].items() if name != "Value")
