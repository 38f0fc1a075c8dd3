"""
Holds documents against the models of Daytona's client; runs where that is installed.

Reads a line of JSON for each, C{{"model": "Sandbox", "document": {...}}}, and writes a line of
JSON for each problem: C{{"model", "problem"}}.  C{toolbox:} stands before the name of a model of
the toolbox's client.  It uses nothing but the clients, so that one program does for every release.
"""

import json
import sys
from enum import Enum

from daytona_api_client import models
from daytona_toolbox_api_client import models as toolbox_models


UNKNOWN = "unknown_default_open_api"


def problems_of(model: str, document: object) -> "list[str]":
    """
    @return: What the client could not read, and what it knows nothing of.
    """
    # Both clients have models of the same name.
    package, _, name = model.rpartition(":")
    kind = getattr(toolbox_models if package == "toolbox" else models, name, None)
    if kind is None:
        return ["no such model"]
    try:
        read = kind.from_dict(document)
    except ValueError as why:
        errors = getattr(why, "errors", None)
        if errors is None:
            return [str(why)]
        return ["{}: {}".format(".".join(map(str, each["loc"])), each["msg"]) for each in errors()]
    return list(_strange(read, ""))


def _strange(value: object, at: str) -> "list[str]":
    """Fields and values of which the client's release has not heard."""
    if isinstance(value, Enum):
        return [f"{at}: unknown value"] if value.value == UNKNOWN else []
    if isinstance(value, list):
        return [each for item in value for each in _strange(item, at)]
    found = [f"{at}{key}: unknown field" for key in getattr(value, "additional_properties", {})]
    for key in getattr(type(value), "model_fields", {}):
        if key != "additional_properties":
            found += _strange(getattr(value, key), f"{at}{key}.")
    return found


def main() -> None:
    """Everything on standard input."""
    for line in sys.stdin:
        asked = json.loads(line)
        for problem in problems_of(asked["model"], asked["document"]):
            sys.stdout.write(json.dumps({"model": asked["model"], "problem": problem}) + "\n")
    sys.stdout.write(json.dumps({"model": "", "problem": "end"}) + "\n")


if __name__ == "__main__":
    main()
