"""Signing the posts of the story: the good ones as any partner does, the bad ones with their fault built in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from connectors import PartnerKey, SignedNotice, notices
from connectors.ids import new_id, new_salt, now_ms
from hub.core import envelope, strict
from hub.demo.story import Post
from schemas.notice import withholdable

DAY = 86_400  # seconds
LIFETIME = 30 * DAY
FIRST_KEY, SECOND_KEY = "2026-1", "2026-2"  # names of the partners' keys, before and after a rotation


def sign(post: Post, key: PartnerKey, old: PartnerKey | None, signed: Mapping[str, SignedNotice]) -> bytes:
    """The bytes that are posted. `old`: the sender's revoked key, if it has one; `signed`: the posts before, by id."""
    if post.fault is None:
        return notices.sign(notices.claims(key.agency, **_referring(post, signed)), key).raw
    return FAULTS[post.fault](post, old if post.fault == "old-key" and old else key, signed)


def _referring(post: Post, signed: Mapping[str, SignedNotice]) -> dict[str, Any]:
    """The fields, with the jti of the posts that they refer to by the story's id."""
    names = [name for name in ("updates", "cancels") if name in post.fields]
    return post.fields | {name: signed[post.fields[name]].jti for name in names}


def _claims(post: Post, agency: str, **change: Any) -> dict[str, Any]:
    """Claims that nothing has checked: a fault must survive until the hub sees it."""
    now = now_ms() // 1000
    return {"iss": agency, "jti": new_id(), "iat": now, "exp": now + LIFETIME} | post.fields | change


def _schema(post: Post, key: PartnerKey, _signed: Mapping[str, SignedNotice]) -> bytes:
    return notices.sign(_claims(post, key.agency), key).raw


def _tampered(post: Post, key: PartnerKey, _signed: Mapping[str, SignedNotice]) -> bytes:
    """Another severity under the signature of the first one."""
    good = notices.sign(_claims(post, key.agency), key).raw
    header, payload, rest = good.split(b".", 2)
    claims = strict.loads(strict.unb64(payload))
    claims["data"]["severity"] = "critical"
    return b".".join([header, strict.b64(strict.dumps(claims)).encode(), rest])


def _impersonates(post: Post, _key: PartnerKey, _signed: Mapping[str, SignedNotice]) -> bytes:
    """Signed under the victim's key id, by a key that is not the victim's."""
    stranger = PartnerKey.generate(post.in_name_of or "", FIRST_KEY)
    return notices.sign(_claims(post, stranger.agency), stranger).raw


def _stale(post: Post, key: PartnerKey, _signed: Mapping[str, SignedNotice]) -> bytes:
    then = now_ms() // 1000 - 120 * DAY
    return notices.sign(_claims(post, key.agency, iat=then, exp=then + LIFETIME), key).raw


def _undisclosed(post: Post, key: PartnerKey, _signed: Mapping[str, SignedNotice]) -> bytes:
    claims = _claims(post, key.agency)
    assert withholdable(claims["type"]).intersection(claims["data"]), "the story must give it something to withhold"  # noqa: S101
    return envelope.sign(claims, kid=key.kid, key=key.private, withholdable=(), salts=new_salt)


def _repeats(post: Post, _key: PartnerKey, signed: Mapping[str, SignedNotice]) -> bytes:
    return signed[post.of or ""].raw


def _same_id(post: Post, key: PartnerKey, signed: Mapping[str, SignedNotice]) -> bytes:
    return notices.sign(_claims(post, key.agency, jti=signed[post.of or ""].jti), key).raw


FAULTS: Mapping[str, Callable[[Post, PartnerKey, Mapping[str, SignedNotice]], bytes]] = {
    "schema": _schema,
    "old-key": _schema,
    "tampered": _tampered,
    "impersonates": _impersonates,
    "stale": _stale,
    "undisclosed": _undisclosed,
    "repeats": _repeats,
    "same-id": _same_id,
}
