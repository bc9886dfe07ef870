"""The JSON Schema (2020-12) of the leaf, made from the type that reads it: `docs/leaf.schema.json`, and in each export.

What a schema cannot say stands in `pki.log.leaves` and `pki.log.audit`: canonical bytes, chain, counters, signatures.
"""

import json
from typing import Any

import msgspec

from pki.log.leaves import ENTRY_TYPES, FAMILY_PATTERN, Leaf

_HAS_KCTR = {"properties": {"keys": {"contains": {"required": ["kctr"]}}}, "required": ["keys"]}
_COUNTED = {"properties": {"keys": {"items": {"required": ["kctr", "spki"]}}, "op": {"required": ["digest"]}}}


def leaf_schema() -> bytes:
    """The schema's file: JSON, indented, one final newline."""
    _, parts = msgspec.json.schema_components([Leaf], ref_template="#/$defs/{name}")
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Kedge journal entry",
        **{key: value for key, value in parts["Leaf"].items() if key != "title"},
        "$defs": {name: part for name, part in sorted(parts.items()) if name != "Leaf"},
        "allOf": _rules(),
    }
    schema["properties"]["type"] = {
        "anyOf": [{"enum": sorted(ENTRY_TYPES)}, {"maxLength": 256, "pattern": f"^{FAMILY_PATTERN}$"}],
        "type": "string",
    }
    schema["$defs"]["Operation"]["properties"]["what"] = {
        "type": "object",
        "additionalProperties": {"$ref": "#/$defs/Value"},
    }
    schema["$defs"]["Value"] = {
        "description": "A value without floats and null; keys are ASCII.",
        "anyOf": [
            {"type": ["string", "boolean"]},
            {"type": "integer", "minimum": -(2**53 - 1), "maximum": 2**53 - 1},
            {"type": "array", "items": {"$ref": "#/$defs/Value"}},
            {"type": "object", "additionalProperties": {"$ref": "#/$defs/Value"}},
        ],
    }
    return (json.dumps(schema, indent=2) + "\n").encode()


def _rules() -> list[dict[str, Any]]:
    """The rules by type, as `pki.log.leaves` has them."""
    closes = r"^key\.(generate|sign|destroy)\.(outcome|unknown)$"
    intent = r"^key\.(generate|sign|destroy)\.intent$"
    unsigned = {"not": {"required": ["sigs"]}}
    kind = {"properties": {"op": {"required": ["kind"]}}}
    return [
        _when(closes, {"required": ["ref", "out"]}, {"not": {"required": ["ref"]}}),
        _when(intent, {"required": ["actor", "keys", "op"], "not": {"required": ["out"]}, **kind}),
        _when(r"^(key\.(generate|sign|destroy)\.intent|log\.recover)$", {}, {"not": _HAS_KCTR}),
        _when(r"^key\.sign\.intent$", _COUNTED),
        _when(r"^key\.(generate|sign|destroy)\.outcome$", _out({"properties": {"status": {"enum": ["ok", "fail"]}}})),
        _when(
            r"^key\.(generate|sign|destroy)\.unknown$",
            _out({"properties": {"status": {"const": "unknown"}}, **unsigned}),
        ),
        _when(
            r"^key\.(generate|sign|destroy)\.denied$",
            _out({"properties": {"status": {"const": "denied"}}, "required": ["why"], **unsigned}),
        ),
    ]


def _when(pattern: str, then: dict[str, Any], otherwise: dict[str, Any] | None = None) -> dict[str, Any]:
    rule: dict[str, Any] = {"if": {"properties": {"type": {"pattern": pattern}}}, "then": then}
    return rule if otherwise is None else {**rule, "else": otherwise}


def _out(rule: dict[str, Any]) -> dict[str, Any]:
    return {"required": ["out"], "properties": {"out": rule}}
