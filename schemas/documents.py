"""JSON Schema 2020-12 documents of everything on the wire, generated from the models, for everyone who does not use Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, TypeAdapter

from schemas.agreement import Agreement
from schemas.ledger import Acknowledgement, Leaf, Receipt, SealedAck, SealedNotice, SealedRead, SealedRegistry
from schemas.notice import TYPES, Notice
from schemas.statement import RegistryEvent, Statement

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MODELS: dict[str, type[BaseModel]] = {
    "notice": Notice,
    "agreement": Agreement,
    "registry-event": RegistryEvent,
    "acknowledgement": Acknowledgement,
    "receipt": Receipt,
    "ledger-leaf": Leaf,
    "sealed-notice": SealedNotice,
    "sealed-registry": SealedRegistry,
    "sealed-ack": SealedAck,
    "sealed-read": SealedRead,
    **TYPES,
}


def documents(examples: dict[str, list[Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, JSON Schema) of every type and message. `examples`: realistic ones, of a notice type its `data`."""
    for name, model in MODELS.items():
        yield name, _document(name, model.model_json_schema(), examples[name])
    statement = TypeAdapter(Statement).json_schema() | {"description": "What changes the registry, one of seven kinds."}
    yield "statement", _document("statement", statement, examples["statement"])


def _document(name: str, schema: dict[str, Any], examples: list[Any]) -> dict[str, Any]:
    schema = {keyword: said for keyword, said in schema.items() if keyword != "title"}
    head = {"$schema": DIALECT, "$id": f"urn:comity:schema:{name}", "title": name, "examples": examples}
    withheld = [field for field, said in schema.get("properties", {}).items() if said.get("x-withholdable")]
    return head | schema | ({"x-withholdable-fields": sorted(withheld)} if withheld else {})
