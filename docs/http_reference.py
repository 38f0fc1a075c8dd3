"""The routes, from our own OpenAPI document, for C{docs/reference_http.rst}."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from inspect import signature
from typing import Any

from docs.cli_reference import plain, table
from sandbox_billing.web._table import build_table
from sandbox_billing.web._tags import TAGS
from sandbox_billing.web.openapi import PATH


class _Anything:
    """Stands for every handler: a document has their routes, and nothing of them."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self


def document() -> Mapping[str, Any]:
    """As a daemon serves it."""
    rooms = {name: _Anything() for name in signature(build_table).parameters}
    table = build_table(**{**rooms, "public_url": ""})
    (row,) = [one for one in table.routes if one.pattern == PATH]
    handler: Any = row.handler
    found: Mapping[str, Any] = handler.__self__.document
    return found


def anchor(kind: str, name: str) -> str:
    """A label that no other page has."""
    return f"http-{kind}-{name}".lower()


def to(name: str) -> str:
    """A link to a form."""
    return f":ref:`{name} <{anchor('form', name)}>`"


def form_of(schema: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        return to(schema["$ref"].rpartition("/")[2])
    if "const" in schema:
        return f"``{json.dumps(schema['const'])}``"
    if "enum" in schema:
        return " or ".join(f"``{json.dumps(one)}``" for one in schema["enum"])
    several = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if several:
        word = ", and " if "allOf" in schema else " or "
        return word.join(dict.fromkeys(form_of(one) for one in several))
    kind = schema.get("type", "anything")
    if isinstance(kind, list):
        return " or ".join(form_of({**schema, "type": one}) for one in kind)
    if kind == "array":
        return f"a list: {form_of(schema.get('items', {}))}"
    if kind == "object":
        values = schema.get("additionalProperties")
        if isinstance(values, Mapping) and "enum" not in values and not schema.get("properties"):
            return f"an object: {form_of(values)} by name"
        return "an object"
    return _bounded(str(kind), schema)


_KNOWN = {r"^(0|[1-9][0-9]*)$": "neuron, as text", r"^0x[0-9a-fA-F]{40}$": "an address"}
"""Patterns of the money and of the wallets, which need no more to be said."""

_WORDS = {"null": "null", "boolean": "true or false", "string": "text", "integer": "a whole number"}


def _bounded(kind: str, schema: Mapping[str, Any]) -> str:
    words = [_WORDS.get(kind, kind)]
    if kind == "string":
        least, most = schema.get("minLength"), schema.get("maxLength")
        if most is not None:
            words.append(
                f"of {least} to {most:,} characters" if least else f"of {most:,} characters at most"
            )
        pattern = schema.get("pattern")
        if pattern in _KNOWN:
            words = [_KNOWN[pattern]]
        elif pattern not in (None, r"^[^\u0000]*$"):
            words.append(f"like ``{pattern}``")
    if kind == "integer":
        least, most = schema.get("minimum"), schema.get("maximum")
        if most is not None:
            words.append(f"from {least} to {most:,}")
        elif least:
            words.append(f"from {least}")
    return " ".join(words)


def described(schema: Mapping[str, Any]) -> str:
    """What a schema says of itself, or what the first of its parts does."""
    parts = schema.get("anyOf", ())
    told = schema.get("description") or next((described(one) for one in parts), "")
    # The form says it already.
    return "" if told.startswith("An amount in neuron") else plain(told)


def fields_of(schema: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, ...]]:
    """A row for each field, with those of objects in it, by a dotted name."""
    if schema.get("type") == "array":
        yield from fields_of(schema.get("items", {}), before.removesuffix(".") + "[].")
    required = set(schema.get("required", ()))
    for name, inner in schema.get("properties", {}).items():
        spelt = f"{before}{name}"
        always = "yes" if name in required else ""
        yield f"``{spelt}``", form_of(inner), always or " ", described(inner) or " "
        yield from fields_of(inner, f"{spelt}.")
        values = inner.get("additionalProperties")
        if isinstance(values, Mapping):
            yield from fields_of(values, f"{spelt}.<name>.")


def ways_of(schema: Mapping[str, Any]) -> Iterator[list[tuple[str, ...]]]:
    """The fields, once for each of the forms that it may have."""
    for part in schema.get("allOf", ()):
        yield from ways_of(part)
    for part in schema.get("anyOf", ()):
        yield from ways_of(part)
    rows = list(fields_of(schema))
    if rows:
        yield rows


def parameters_of(operation: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A row for each."""
    for one in operation.get("parameters", ()):
        required = "yes" if one.get("required") else " "
        schema = one["schema"]
        yield (
            f"``{one['name']}``",
            one["in"],
            required,
            " ".join(filter(None, [form_of(schema) + ".", described(schema)])),
        )


def _asker(operation: Mapping[str, Any]) -> str:
    scopes = [scope for one in operation["security"] for scope in one.get("token", ())]
    if not operation["security"]:
        return "Anybody may ask."
    if not scopes:
        return "By a wallet's signature, or a session token."
    return (
        "By a wallet's signature, or a session token with the scope "
        + " or ".join(f"``{scope}``" for scope in scopes)
        + "."
    )


def _answers(operation: Mapping[str, Any]) -> list[str]:
    lines, others = [], []
    for status, answer in operation["responses"].items():
        if "$ref" in answer:
            others.append(f":ref:`{status} <{anchor('status', status)}>`")
            continue
        forms = [
            f"{form_of(content['schema'])} as ``{media}``" if content["schema"] else f"``{media}``"
            for media, content in answer.get("content", {}).items()
        ]
        told = " or ".join(forms) or plain(answer["description"])
        number = "" if status == "default" else f" {status}"
        lines.append(f"**Answer{number}**: {told}.")
    if others:
        lines.append("**Or**: " + ", ".join(others) + ".")
    return [one for line in lines for one in (line, "")]


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> list[str]:
    title = f"{method.upper()} {path}"
    lines = [f".. _{anchor('route', operation['operationId'])}:", ""]
    lines += [f"``{title}``", "~" * (len(title) + 4), ""]
    lines += [plain(operation["summary"]) + ". " + _asker(operation), ""]
    rows = parameters_of(operation)
    lines += table(("parameter", "in", "required", "form"), "28 12 12 48", rows)
    body = operation.get("requestBody")
    if body is not None:
        (media, content), *_ = body["content"].items()
        form = form_of(content["schema"]) if content.get("schema") else "whatever is sent"
        missing = "" if body.get("required") or media == "*/*" else "; may be left out"
        lines += [f"**Body**: {form} as ``{media}``{missing}.", ""]
        if "example" in content:
            shown = json.dumps(content["example"], indent=2).splitlines()
            lines += [".. code-block:: json", "", *(f"   {line}" for line in shown), ""]
    return [*lines, *_answers(operation)]


def _same(path: str, methods: Mapping[str, Any]) -> dict[str, Any]:
    """Where all methods are one stream, one entry says it of all."""
    if len(methods) < 5:
        return dict(methods)
    word = ", ".join(method.upper() for method in methods)
    return {word: methods["get"]}


def as_rst() -> list[str]:
    """Every route by its tag, then what statuses mean, then the forms."""
    found = document()
    lines = [plain(found["info"]["description"]), ""]
    for tag in TAGS:
        lines += [tag.name, "-" * len(tag.name), "", plain(tag.about), ""]
        for path, methods in found["paths"].items():
            for method, operation in _same(path, methods).items():
                if operation["tags"] == [tag.name]:
                    lines += _operation(method, path, operation)
    lines += ["Statuses", "--------", ""]
    lines += [
        "Refusals are an " + to("Error") + ", but for 402, which is a " + to("CannotPay") + "."
    ]
    for status, answer in found["components"]["responses"].items():
        lines += ["", f".. _{anchor('status', status)}:", "", f".. rubric:: {status}", ""]
        lines += [plain(answer["description"]) + "."]
    lines += ["", "Forms", "-----", ""]
    for name, schema in found["components"]["schemas"].items():
        lines += [f".. _{anchor('form', name)}:", "", name, "~" * len(name), ""]
        told, form, ways = described(schema), form_of(schema), list(ways_of(schema))
        if not ways or form != "an object":
            lines += [form[0].upper() + form[1:] + ".", ""]
        lines += [told, ""] if told else []
        for at, rows in enumerate(ways):
            lines += ["Or:", ""] if at else []
            lines += table(("field", "form", "always", "what it is"), "30 32 8 30", rows)
    return [re.sub(r"\s+$", "", line) for line in lines]
