"""JSON Schema 2020-12 documents of everything on the wire, generated from the models, for everyone who does not use Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

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


def documents(examples: dict[str, dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, JSON Schema) of every type and message. `examples`: a realistic `data` per notice type."""
    for name, model in MODELS.items():
        yield name, _document(name, model.model_json_schema(schema_generator=GenerateJsonSchema), examples.get(name))
    yield "statement", _document("statement", TypeAdapter(Statement).json_schema(), None)


def _document(name: str, schema: dict[str, Any], example: dict[str, Any] | None) -> dict[str, Any]:
    head = {"$schema": DIALECT, "$id": f"urn:comity:schema:{name}", "title": schema.pop("title", name)}
    withheld = [field for field, said in schema.get("properties", {}).items() if said.get("x-withholdable")]
    more: dict[str, Any] = {"x-withholdable-fields": sorted(withheld)} if withheld else {}
    if example is not None:
        more["examples"] = [example]
    return head | schema | more
