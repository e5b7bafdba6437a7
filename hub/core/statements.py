"""Statements as signed documents: a JWS in general JSON serialisation (RFC 7515 §7.2.1) over one typed payload.

Taking one apart says nothing about whether it may be recorded: that is `hub.core.judging`.
"""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError

from hub.core import jws
from hub.core.errors import Refusal
from schemas.problems import explain_error
from schemas.statement import Statement

TYP = "statement+jws"
OPERATOR = "operator"
HUB = "hub"
MAX_BYTES = 900_000  # an agreement of many parties and clauses; event and ledger entry must fit into one record each

_PARSE: TypeAdapter[Statement] = TypeAdapter(Statement)


def parse(payload: dict[str, object]) -> Statement:
    """The typed statement; Refusal("schema") with every fault named."""
    try:
        return _PARSE.validate_python(payload)
    except ValidationError as error:
        raise Refusal("schema", explain_error(error)) from None


def read(document: bytes | dict[str, Any]) -> tuple[jws.General, Statement]:
    """Take a statement apart, without judging it. Raises Refusal: too-large, malformed, header, schema."""
    signed = jws.read_general(document, TYP, max_bytes=MAX_BYTES)
    return signed, parse(signed.payload)
