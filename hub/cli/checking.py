"""Verifying a notice from a file against the registered keys, as any recipient can."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from hub.cli.output import InputError, moment
from hub.core import envelope
from hub.core.errors import Refusal, VerificationFailed
from hub.core.strict import b64, unb64
from schemas.notice import validate, withholdable
from schemas.problems import explain_error


def check_notice(raw: bytes, agencies: dict[str, Any]) -> dict[str, Any]:
    """What a notice says, once it holds; `agencies` as GET /v1/agencies answers. Raises VerificationFailed."""
    try:
        env = envelope.split(raw)
        key, owner = _find(env.kid, agencies)
        if not envelope.verify(unb64(key["x"]), env.signature, env.signing_input):
            raise VerificationFailed(f"the signature does not verify under key {env.kid}")
        claims, disclosed, missing = envelope.read(env)
        notice = validate(claims)
    except Refusal as refusal:
        raise VerificationFailed(str(refusal)) from None
    except ValidationError as error:
        raise VerificationFailed(f"the notice does not fit its schema: {explain_error(error)}") from None
    if notice.iss != owner:
        raise VerificationFailed(f"iss is {notice.iss}, but the key {env.kid} is of {owner}")
    if disclosed != withholdable(notice.type).intersection(notice.data):
        raise VerificationFailed("exactly the withholdable fields of data must be disclosures")
    revoked = key.get("revoked")
    return {
        "kid": env.kid, "digest": b64(env.digest), "withheld": len(missing),
        "key_revoked": None if revoked is None else moment(revoked), "claims": claims,
    }  # fmt: skip


def _find(kid: str, agencies: dict[str, Any]) -> tuple[dict[str, Any], str]:
    try:
        for agency in agencies["agencies"]:
            for key in agency["keys"]:
                if key["kid"] == kid:
                    return key, agency["id"]
    except (KeyError, TypeError):
        raise InputError("the agencies are not as `comity agency list -o json` writes them") from None
    raise VerificationFailed(f"no agency has registered the key {kid[:80]!a}")
