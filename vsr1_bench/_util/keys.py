"""The keys of a pydantic model as a user reads them: name, type, default, meaning."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

_NAMES = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "object": "table",
}
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class Key:
    """One key."""

    name: str
    type: str
    default: str
    """As it is typed; `required` if there is none."""
    meaning: str
    """Its docstring in one line."""


def keys_of(kind: type[BaseModel]) -> list[Key]:
    """The keys of a model in the order of its fields."""
    schema = kind.model_json_schema()
    defined = schema.get("$defs", {})
    meanings = _meanings(kind)
    keys = []
    for name, field in kind.model_fields.items():
        value = field.get_default(call_default_factory=True)
        default = REQUIRED if field.is_required() else _text(value)
        type_name = _type(schema["properties"][name], defined)
        keys.append(Key(name, type_name, default, meanings.get(name, "")))
    return keys


def _type(schema: Mapping[str, Any], defined: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return _type(defined[schema["$ref"].rpartition("/")[2]], defined)
    if "anyOf" in schema:
        kinds = [one for one in schema["anyOf"] if one.get("type") != "null"]
        return " or ".join(_type(one, defined) for one in kinds)
    if "enum" in schema:
        return ", ".join(map(_text, schema["enum"]))
    if "const" in schema:
        return _text(schema["const"])
    if schema.get("type") == "array":
        if "items" in schema:
            return f"list of {_type(schema['items'], defined)}"
        return f"list of {len(schema['prefixItems'])}"
    if schema.get("format") == "path":
        return "path"
    name = _NAMES.get(schema.get("type", ""), "any")
    bounds = [f"{sign} {schema[bound]:g}" for bound, sign in _BOUNDS.items() if bound in schema]
    return " ".join([name, *([", ".join(bounds)] if bounds else [])])


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, default=str)
    return f"{value:g}" if isinstance(value, float) and abs(value) >= 1e-3 else str(value)


def _meanings(kind: type[BaseModel]) -> dict[str, str]:
    """Field -> its docstring; a field that is declared again keeps that of the base class."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            found |= dict(_docstrings(base))
    return found


def _docstrings(kind: type) -> Iterator[tuple[str, str]]:
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    for field, after in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            yield field.target.id, " ".join(str(after.value.value).split())
