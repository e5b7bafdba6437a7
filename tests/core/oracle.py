"""A second opinion on who receives what, written from the prose and sharing no code with `hub.core`.

It works on plain dictionaries: agreements as published, claims as sent. Slow, obvious, exhaustive.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

TLP = ["TLP:CLEAR", "TLP:GREEN", "TLP:AMBER", "TLP:AMBER+STRICT", "TLP:RED"]
AREA = {"threat": "security"}
SEVERITY = ["low", "medium", "high", "critical"]


def area(type_: str) -> str:
    first = type_.split(".")[0]
    return AREA.get(first, first)


def ms(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() * 1000


def found(data: Any, path: list[str]) -> list[Any]:
    if isinstance(data, list):
        return [value for element in data for value in found(element, path)]
    if not path:
        return [data]
    return found(data[path[0]], path[1:]) if isinstance(data, dict) and path[0] in data else []


def holds(condition: dict[str, Any], data: dict[str, Any]) -> bool:
    values, wanted = found(data, condition["field"].split(".")), condition["value"]
    many = wanted if isinstance(wanted, list) else [wanted]
    match condition["op"]:
        case "at_least" if isinstance(wanted, str):
            return any(SEVERITY.index(value) >= SEVERITY.index(wanted) for value in values)
        case "at_least":
            return any(value >= wanted for value in values)
        case "one_of" | "includes":
            return any(value in many for value in values)
        case "starts_with":
            return any(value.startswith(prefix) for value in values for prefix in many)
    raise AssertionError(condition)


def grants(agreements: list[dict[str, Any]], claims: dict[str, Any], at: int, withholdable: set[str]) -> dict[str, Any]:
    """recipient -> (agreement, version, clause, sorted withheld fields)"""
    options: dict[str, list[Any]] = {}
    for agreement in agreements:
        if not ms(agreement["in_force"]["from"]) <= at < ms(agreement["in_force"]["until"]):
            continue
        for clause in agreement["clauses"]:
            if claims["iss"] not in clause["from"]:
                continue
            if claims["type"] not in clause["types"] and area(claims["type"]) not in clause["areas"]:
                continue
            if TLP.index(claims["tlp"]) > TLP.index(clause["ceiling"]):
                continue
            if not all(holds(condition, claims["data"]) for condition in clause["when"]):
                continue
            withheld = sorted(set(clause["withhold"]) & set(claims["data"]) & withholdable)
            for recipient in clause["to"]:
                allowed = claims.get("rel_to") is None or recipient in claims["rel_to"]
                if recipient != claims["iss"] and allowed and at < claims["exp"] * 1000:
                    option = (len(withheld), agreement["id"], clause["id"], agreement["version"], withheld)
                    options.setdefault(recipient, []).append(option)
    return {
        recipient: (best[1], best[3], best[2], best[4]) for recipient, all_ in options.items() for best in [min(all_)]
    }
