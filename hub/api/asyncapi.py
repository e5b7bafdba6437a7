"""The event interface as AsyncAPI 3.0: the topics a partner or an auditor may meet, from the same models as
everything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from schemas.ledger import Acknowledgement
from schemas.notice import TYPES, Notice, withholdable

REF = "#/components/schemas/"
TEXT = {"type": "string"}
AGENCY = {"agency": {"description": "Id of the agency that owns the topic, such as us-cisa."}}

_ATTRIBUTES: Mapping[str, str] = {
    "ce_specversion": "Always 1.0.",
    "ce_id": "The notice's jti.",
    "ce_source": "/agencies/<sender>",
    "ce_type": "comity.notice.<type>",
    "ce_time": "RFC 3339 UTC: when the hub took the notice, or decided on it.",
    "ce_subject": "The notice's subject.",
    "content-type": "application/sd-jwt",
}
_DELIVERY_ATTRIBUTES: Mapping[str, str] = {
    "ce_number": "Counts the deliveries from this sender to this recipient, without gaps.",
    "ce_agreement": "<agreement>@<version>/<clause> that grants the delivery.",
    "ce_withheld": "Names of the withheld fields, comma-separated.",
    "ce_reason": "Why it is delivered: clause or recall.",
    "ce_salt": "Opens the recipient's leaf in the delivery tree, base64url.",
}


def describe_events(version: str) -> dict[str, Any]:
    """The AsyncAPI 3.0 document."""
    channels = {
        "notices": _channel(
            "comity.notices.{agency}", "What an agency publishes.", ("notice", "acknowledgement"), AGENCY
        ),
        "deliveries": _channel("comity.deliveries.{agency}", "What an agency receives.", ("delivery",), AGENCY),
        "ledger": _channel("comity.ledger", "Every decision, in total order; auditors only.", ("entry",)),
        "checkpoints": _channel("comity.checkpoints", "Signed tree heads; everyone.", ("checkpoint",)),
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Comity events",
            "version": version,
            "description": (
                "CloudEvents 1.0, Kafka binding, binary mode. Headers are hints; only the signed bytes are believed."
            ),
        },
        "defaultContentType": "application/sd-jwt",
        "channels": channels,
        "operations": {
            "publish": _operation("receive", "notices", "The hub takes what an agency signed."),
            "deliver": _operation("send", "deliveries", "The hub delivers what a clause grants."),
            "record": _operation("send", "ledger", "The hub explains every decision."),
            "sign": _operation("send", "checkpoints", "The hub signs the ledger's tree."),
        },
        "components": {"messages": _messages(), "schemas": _schemas()},
    }


def _channel(
    address: str, description: str, messages: tuple[str, ...], parameters: dict[str, Any] | None = None
) -> dict[str, Any]:
    channel: dict[str, Any] = {
        "address": address,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
    }
    return channel | ({"parameters": parameters} if parameters else {})


def _operation(action: str, channel: str, summary: str) -> dict[str, Any]:
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary}


def _messages() -> dict[str, Any]:
    sd_jwt = "SD-JWT compact (RFC 9901); the signed claims are the schema Notice, and data is the one of its type."
    return {
        "notice": _message("A notice, everything disclosed.", "application/sd-jwt", sd_jwt, _headers(_ATTRIBUTES)),
        "delivery": _message(
            "A notice without the disclosures that the clause withholds; the sender's signature still verifies.",
            "application/sd-jwt", sd_jwt, _headers({**_ATTRIBUTES, **_DELIVERY_ATTRIBUTES}),
        ),
        "acknowledgement": _message(
            "That deliveries are stored.", "application/jwt", "JWS compact (typ ack+jwt); see schema Acknowledgement.",
        ),
        "entry": _message(
            "A ledger entry: leaf and sealed part.", "application/octet-stream",
            "<leaf JSON>, newline, <sealed JSON>; the leaf's exact bytes are hashed into the tree..",
        ),
        "checkpoint": _message("A signed tree head.", "text/plain", "C2SP signed note with a tlog-checkpoint."),
    }  # fmt: skip


def _message(title: str, content_type: str, payload: str, headers: dict[str, Any] | None = None) -> dict[str, Any]:
    message: dict[str, Any] = {"title": title, "contentType": content_type, "payload": {**TEXT, "description": payload}}
    return message | ({"headers": headers} if headers else {})


def _headers(attributes: Mapping[str, str]) -> dict[str, Any]:
    properties = {name: {**TEXT, "description": said} for name, said in attributes.items()}
    return {"type": "object", "required": sorted(properties), "properties": properties}


def _schemas() -> dict[str, Any]:
    """Claims, acknowledgement, and the data of every notice type, with their definitions at the top."""
    schemas: dict[str, Any] = {}
    named: dict[str, type[BaseModel]] = {"Notice": Notice, "Acknowledgement": Acknowledgement, **TYPES}
    for name, model in named.items():
        schema = model.model_json_schema(ref_template=f"{REF}{{model}}", by_alias=True)
        schemas |= schema.pop("$defs", {})
        if name in TYPES and withholdable(name):
            schema["x-withholdable"] = sorted(withholdable(name))
        schemas[name] = schema
    return schemas
