"""Who is calling: OAuth 2.0 client credentials by a signed assertion (RFC 7523), short access tokens, roles from the
registry.

A client proves itself with the key that the registry holds for it; there is no password and no second list of
clients. An access token names the key it was bought with, and every request asks the registry whether that key is
still good, so a revocation cuts off at once and not when the token expires.
"""

from __future__ import annotations

import os
import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jws as jose
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from hub.api.problems import Problem
from hub.api.replay import Used
from hub.core import envelope, jws, strict
from hub.core.errors import Refusal
from hub.core.keys import Key
from hub.core.registry import OPERATOR, View

TOKEN_TYP = "at+jwt"  # noqa: S105  RFC 9068
TOKEN_SECONDS = 600
ASSERTION_SECONDS = 300
ASSERTION_SKEW = 60  # seconds a client's clock may run ahead
ASSERTION_BYTES = 8_192
REMEMBERED_TOKENS = 10_000

Role = Literal["partner", "auditor", "operator"]


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller: an agency (partner or auditor) or the operator, the key it used, its token's end (s)."""

    name: str
    role: Role
    kid: str
    expires: int


class Access:
    """Sells access tokens for client assertions, and recognises them. Times are the hub's clock."""

    def __init__(
        self,
        *,
        view: Callable[[], View],
        clock: Callable[[], int],
        key: Ed25519PrivateKey,
        kid: str,
        issuer: str,
        audiences: frozenset[str],
        used: Used,
    ) -> None:
        self._view, self._clock, self._used = view, clock, used
        self._key, self._kid, self._issuer, self._audiences = key, kid, issuer, audiences
        self._public = key.public_key().public_bytes_raw()
        self._known: OrderedDict[str, Principal] = OrderedDict()

    async def sell(self, assertion: str) -> dict[str, Any]:
        """The token response for a client assertion; Problem "invalid_client" when it is not accepted.

        Until the signature holds the answer is always the same, so nobody can ask for the names of keys.
        """
        now = self._clock()
        key, claims = self._authenticate(assertion, now)
        self._check_claims(claims, now // 1000)
        if not await self._used.spend(key.agency, claims["jti"], claims["exp"], now // 1000):
            raise invalid_client("jti: this assertion was used before; sign a fresh one for every token request")
        principal = self._principal(key, now // 1000 + TOKEN_SECONDS)
        token = jws.sign_compact(
            {
                "iss": self._issuer, "aud": self._issuer, "sub": principal.name, "client_id": principal.name,
                "role": principal.role, "kid": principal.kid, "iat": now // 1000, "exp": principal.expires,
                "jti": strict.b64(os.urandom(16)),
            },
            typ=TOKEN_TYP, kid=self._kid, key=self._key,
        ).decode()  # fmt: skip
        return {"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS}

    def _authenticate(self, assertion: str, now: int) -> tuple[Key, dict[str, Any]]:
        """The key that signed the assertion, good now and owned by iss = sub; and the claims."""
        try:
            raw = assertion.encode("ascii")
            if len(raw) > ASSERTION_BYTES:
                raise Refusal("too-large", "assertion")
            head, body, _ = raw.split(b".")
            header, claims = (
                strict.loads(strict.unb64(head), max_depth=2),
                strict.loads(strict.unb64(body), max_depth=3),
            )
            if not isinstance(header, dict) or not isinstance(claims, dict) or not isinstance(header.get("kid"), str):
                raise Refusal("malformed", "assertion")
            key = self._view().key(header["kid"], now)
            if not claims.get("iss") == claims.get("sub") == key.agency:
                raise Refusal("wrong-sender", "assertion")
            self._principal(key, 0)
            okp = OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": strict.b64(key.public)})
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # EdDSA is the older name (RFC 9864); many libraries still write it
                # joserfc checks alg against this list, `crit`, and the signature.
                jose.deserialize_compact(raw, okp, algorithms=["Ed25519", "EdDSA"])
        except (Refusal, JoseError, ValueError):
            raise invalid_client(
                "client_assertion: not a JWT signed (Ed25519) with a key that the registry holds and that is good now, "
                "with kid in its header and iss = sub = the owner of that key"
            ) from None
        return key, claims

    def _check_claims(self, claims: dict[str, Any], now: int) -> None:
        audience = claims.get("aud")
        named = audience if isinstance(audience, list) else [audience]
        if not any(isinstance(one, str) and one in self._audiences for one in named):
            raise invalid_client(f"aud: must name {' or '.join(sorted(self._audiences))}")
        iat, exp, jti = claims.get("iat"), claims.get("exp"), claims.get("jti")
        if type(iat) is not int or type(exp) is not int or not iat < exp <= iat + ASSERTION_SECONDS:
            raise invalid_client(f"exp: iat and exp are whole seconds, exp at most {ASSERTION_SECONDS} s after iat")
        if iat > now + ASSERTION_SKEW or exp <= now:
            raise invalid_client(
                f"exp: the assertion is not valid at the hub's time {now}; check the clock, sign a fresh one"
            )
        if not isinstance(jti, str) or not 1 <= len(jti) <= 128:
            raise invalid_client("jti: 1 to 128 characters, different for every assertion")

    def _principal(self, key: Key, expires: int) -> Principal:
        """Refusal for a key that is nobody's to log in with, such as the hub's own."""
        if key.agency == OPERATOR:
            return Principal(OPERATOR, "operator", key.kid, expires)
        agency = self._view().agency(key.agency, self._clock())
        if agency is None or agency.role not in ("partner", "auditor"):
            raise Refusal("unknown-key", f"{key.agency} is not an agency")
        return Principal(agency.id, "auditor" if agency.role == "auditor" else "partner", key.kid, expires)

    def caller(self, authorization: str | None) -> Principal:
        """Whose token this `Authorization` header carries; Problem "unauthorized" when it is nobody's."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Problem("unauthorized", "send `Authorization: Bearer <token>`, with a token from /oauth/token")
        principal = self._known.get(token) or self._recognise(token)
        self.recheck(principal)
        return principal

    def recheck(self, principal: Principal) -> None:
        """Problem "unauthorized" when the token has expired or its key is no longer good: a stream asks again and
        again.
        """
        now = self._clock()
        if principal.expires * 1000 <= now:
            raise Problem("unauthorized", "the access token has expired; get a new one at /oauth/token")
        try:
            self._view().key(principal.kid, now)
        except Refusal as refusal:
            raise Problem("unauthorized", f"the key of this token is no longer good: {refusal.code}") from None

    def _recognise(self, token: str) -> Principal:
        """Verify a token's bytes once; they are remembered, for verifying costs more than the rest of a request."""
        try:
            signed = jws.read_compact(token.encode("ascii"), typ=TOKEN_TYP, max_bytes=2_048)
            if signed.kid != self._kid or not envelope.verify(self._public, signed.signature, signed.signing_input):
                raise Refusal("signature", "access token")
        except (Refusal, UnicodeEncodeError):
            raise Problem("unauthorized", "this is not an access token of this hub; get one at /oauth/token") from None
        said = signed.payload
        principal = Principal(said["sub"], said["role"], said["kid"], said["exp"])
        self._known[token] = principal
        if len(self._known) > REMEMBERED_TOKENS:
            self._known.popitem(last=False)
        return principal


def invalid_client(detail: str) -> Problem:
    return Problem("invalid_client", detail, error="invalid_client", error_description=detail)
