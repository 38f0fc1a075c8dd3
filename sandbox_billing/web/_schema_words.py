"""
The words that schemas are made of, in JSON Schema 2020-12.

Tests: C{tests.web.test_openapi}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias


Schema: TypeAlias = Mapping[str, Any]


def ref(name: str) -> Schema:
    """A named schema, by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def array(items: Schema) -> Schema:
    """Any number of these."""
    return {"type": "array", "items": items}


def record(more: bool | Schema = True, /, **fields: Schema) -> Schema:
    """
    An object that has all of these fields.

    @param more: What others are.
    """
    return {
        "type": "object",
        "properties": fields,
        "required": sorted(fields),
        "additionalProperties": more,
    }


def optional(more: bool | Schema = False, /, **fields: Schema) -> Schema:
    """An object that may have these fields; null is as good as absent."""
    nullable = {name: {"anyOf": [one, {"type": "null"}]} for name, one in fields.items()}
    return {"type": "object", "properties": nullable, "additionalProperties": more}


def page_of(items: Schema) -> Schema:
    """Daytona's numbered pages."""
    return record(items=array(items), total=COUNT, page=COUNT, totalPages=COUNT)


TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
# Daytona's database takes no NUL.
STORED: Schema = {"type": "string", "pattern": "^[^\\u0000]*$"}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
STORED_TEXTS: Schema = {
    "type": "object",
    "additionalProperties": STORED,
    "propertyNames": {"pattern": "^[^\\u0000]*$"},
}
SIZE: Schema = {"type": "integer", "minimum": 0, "maximum": 4096}
EMPTY: Schema = {"enum": [None, False, 0, "", [], {}]}
"""What a field that we do not know may be: official SDKs send such."""
NEURON: Schema = {
    "type": "string",
    "pattern": "^(0|[1-9][0-9]*)$",
    "description": "An amount in neuron (10^-18 0G).",
}
ADDRESS: Schema = {"type": "string", "pattern": "^0x[0-9a-fA-F]{40}$"}
SECONDS: Schema = {"type": "integer", "minimum": 0, "description": "Unix seconds."}
