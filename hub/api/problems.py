"""Every way the HTTP interface says no: one table, RFC 9457 problem details, and the page that documents them.

A refused notice carries the reason code that the ledger records, so a publisher, an operator and an auditor speak of a refusal
in one word. `docs/problems.md` is rendered from this table and tested against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from hub.core import strict
from hub.core.errors import ComityError, Refusal

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Kind:
    """One problem: its code, HTTP status, short title, what it means, and what the caller should do."""

    code: str
    status: int
    title: str
    meaning: str
    remedy: str

    @property
    def type(self) -> str:
        return f"urn:comity:problem:{self.code}"


# Order = the order of docs/problems.md: first what any request can meet, then a message's way through the checklist.
_TABLE: tuple[tuple[str, int, str, str, str], ...] = (
    ("bad-request", 400, "Bad request", "A parameter or the form of the request cannot be used.", "Mend what `detail` names; the interface is described at `/docs`."),
    ("unauthorized", 401, "Not authenticated", "There is no access token, or it is unknown, expired, or its key is no longer good.", "Get a token at `/oauth/token` and send it as `Authorization: Bearer …`."),
    ("invalid_request", 400, "Token request not understood", "The form of the token request is wrong (RFC 6749 §5.2).", "Send the form fields of RFC 7523 §2.2, each once."),
    ("unsupported_grant_type", 400, "Grant type not supported", "Only `client_credentials` is offered.", "Send `grant_type=client_credentials`."),
    ("invalid_client", 401, "Client not authenticated", "The client assertion is not accepted: key, signature, audience, time or `jti`.", "Sign a fresh assertion with a key that the registry holds; `detail` says what failed once the signature holds."),
    ("forbidden", 403, "Not for this role", "The route is not for the caller's role.", "Use the credentials of an agency with the role that `detail` names."),
    ("not-found", 404, "Not found", "There is no such thing, or it is not the caller's to see; the answer is the same.", "Check the address and whose it is."),
    ("method-not-allowed", 405, "Method not allowed", "The route exists, but not with this method.", "Use a method of the `Allow` header."),
    ("not-acceptable", 406, "Not acceptable", "The `Accept` header allows none of the formats the route answers with.", "Accept `application/json`, or what `detail` names."),
    ("not-yet-covered", 409, "Not yet covered by a checkpoint", "The ledger entry exists; the notary has not signed a checkpoint over it yet.", "Ask again after `Retry-After` seconds."),
    ("too-large", 413, "Too large", "The body exceeds its limit: 64 KiB for a notice or an acknowledgement.", "Send less; refer to bulky material instead of carrying it."),
    ("unsupported-media-type", 415, "Media type not supported", "The `Content-Type` is not one the route takes.", "Send the content type that `detail` names."),
    ("rate-limited", 429, "Too many requests", "The caller used up its rate, or holds too many streams open.", "Wait `Retry-After` seconds, then go on slower."),
    ("busy", 503, "Queue full", "More notices are waiting than the hub takes; nothing was accepted.", "Send the same bytes again after `Retry-After` seconds."),
    ("draining", 503, "Shutting down", "The hub is shutting down and takes nothing new.", "Send the same bytes again after `Retry-After` seconds."),
    ("unavailable", 503, "Log unavailable", "The log does not answer; whether the request was stored is unknown.", "Send the same bytes again after `Retry-After` seconds: the answer is the same and nothing is doubled."),
    ("internal", 500, "Internal error", "The hub failed; the fault is on its side and in its log.", "Send the same bytes again later; tell the operator the time."),
)  # fmt: skip

# Reason codes: what the checklist of `hub.core.process` or the registry's judge refuses. The same words stand in the ledger.
_REASONS: tuple[tuple[str, int, str, str, str], ...] = (
    ("malformed", 400, "Malformed", "The bytes cannot be read in exactly one way: encoding, JSON, base64url or structure.", "Build it with a library that writes the format strictly; no duplicate keys, no padding, no byte order mark."),
    ("header", 400, "Wrong JWS header", "The header must hold exactly `alg`, `typ` and `kid`, with the values of the format.", "Sign with exactly these header members."),
    ("disclosure", 422, "Disclosures do not fit", "Disclosures and signed digests do not match one to one, or a field is disclosable that must not be (or the other way).", "Publish every withholdable field as a disclosure, and nothing else."),
    ("unknown-key", 422, "Unknown key", "The registry holds no such key, or it is not in effect yet.", "Register the key, or wait until it takes effect."),
    ("key-not-yet-valid", 422, "Key not yet valid", "The key's validity has not begun.", "Sign with a key that is valid now."),
    ("key-expired", 422, "Key expired", "The key's validity has ended, or it was retired.", "Rotate the key and sign again."),
    ("key-revoked", 422, "Key revoked", "The key was revoked, or is suspect since before the moment of signing.", "Sign again with another key."),
    ("wrong-sender", 403, "Wrong sender", "Key, `iss` and authenticated caller are not the same agency.", "Each agency posts what it signed itself."),
    ("signature", 422, "Signature does not verify", "The signature does not hold over the exact bytes under that key.", "Sign again; do not re-encode or reformat after signing."),
    ("schema", 422, "Does not fit its schema", "Claims or data do not fit the notice type's schema.", "Mend the fields that `detail` names."),
    ("not-yet-valid", 422, "From the future", "`iat` is ahead of the hub's clock by more than the allowed skew.", "Check the clock of the signing machine."),
    ("lifetime", 422, "Lifetime not allowed", "`exp` is not after `iat`, or too long after it.", "Choose a shorter lifetime."),
    ("expired", 422, "Expired", "`exp` has passed.", "Sign a new notice."),
    ("equivocation", 409, "Same id, other bytes", "Another message with this `jti` was already signed by this agency. It is recorded.", "Use a new `jti` for every new message; to repeat one, send its exact bytes."),
    ("duplicate-statement", 422, "Statement on record", "A statement with this id is on record already.", "Nothing to do; or use a new `id` for a new statement."),
    ("hub-found", 422, "Hub is founded", "`hub.found` is the first statement of a registry, and only the first.", "Nothing to do."),
    ("missing-signature", 422, "Signature missing", "Someone who has to sign the statement did not.", "Collect the signatures that `detail` names."),
    ("unknown-agency", 422, "Unknown agency", "The statement names an agency that is not enrolled.", "The operator enrols it with `agency.enroll`."),
    ("unknown-agreement", 422, "Unknown agreement", "No agreement with this id was ever published.", "Check the id."),
    ("agency-exists", 422, "Agency exists", "The agency is enrolled already.", "Add a key with `key.add`."),
    ("key-exists", 422, "Key exists", "The key id, or the key itself, was registered before.", "Make a new key under a new id."),
    ("version", 422, "Wrong version", "The versions of an agreement are numbered without gaps.", "Use the version that `detail` names."),
    ("not-a-party", 422, "Not a party", "Only a party can terminate an agreement.", "Check party and agreement."),
    ("already-ended", 422, "Ended already", "The key was revoked, or the agreement terminated, already.", "Nothing to do."),
    ("not-lapsed", 422, "Not lapsed", "The agreement's `until` has not passed, or it ended otherwise.", "Nothing to do; the hub records lapses itself."),
)  # fmt: skip

KINDS: Mapping[str, Kind] = {row[0]: Kind(*row) for row in (*_TABLE, *_REASONS)}
REASONS = frozenset(row[0] for row in _REASONS) | {"too-large"}


class Problem(ComityError):  # noqa: N818  RFC 9457 calls it so
    """Ends a request with the problem `code`; `detail` says what, where, and what to do."""

    def __init__(self, code: str, detail: str, *, retry_after: int | None = None, **extra: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.kind = KINDS[code]
        self.detail = detail
        self.retry_after = retry_after
        self.extra = extra

    def response(self) -> Response:
        return problem_response(self.kind, self.detail, retry_after=self.retry_after, **self.extra)


def problem_response(kind: Kind, detail: str, *, retry_after: int | None = None, **extra: str) -> Response:
    """The problem as a response. `extra` are RFC 9457 extension members, such as OAuth's `error`."""
    body: dict[str, Any] = {
        "type": kind.type,
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "code": kind.code,
    }
    headers = {}
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    if kind.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="comity"'
    return Response(strict.dumps(body | extra), kind.status, headers, media_type=MEDIA_TYPE)


def from_refusal(refusal: Refusal) -> Problem:
    """The problem for a refusal by the checklist or the registry's judge."""
    return Problem(refusal.code, refusal.detail)


def render() -> str:
    """docs/problems.md."""
    lines = [
        "# Problems",
        "",
        "Errors are RFC 9457 `application/problem+json`: `type` is `urn:comity:problem:<code>`, `detail` says what, where and what to do.",
        "Codes are stable. This page is generated from `hub/api/problems.py` by its `render()`.",
    ]
    for heading, rows in (("Any request", _TABLE), ("Refused messages: the reason codes of the ledger", _REASONS)):
        lines += ["", f"## {heading}", "", "| code | status | meaning | what to do |", "|---|---|---|---|"]
        lines += [f"| `{code}` | {status} | {meaning} | {remedy} |" for code, status, _, meaning, remedy in rows]
    return "\n".join(lines) + "\n"
