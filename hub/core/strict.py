"""JSON and base64url that mean one thing only.

Two parsers that disagree about the same bytes are a hole in every signature. So what RFC 8259 leaves open is refused:
duplicate keys, NaN and Infinity, integers that a double cannot hold, floats that overflow, lone surrogates, a byte
order mark, base64 with stray bits, padding or characters. What we write ourselves is canonical.
"""

from __future__ import annotations

import binascii
import json
import math
import re
from collections import Counter
from typing import Any, NoReturn

from hub.core.errors import Refusal

MAX_BYTES = 65_536
MAX_DEPTH = 16
MAX_INT = 2**53

# an unterminated string runs to the end, so that every quote begins a match and the search stays linear
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))
_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_+/", b"+/\x00\x00")


def loads(data: bytes, *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> Any:
    """Parse UTF-8 JSON strictly.

    max_depth counts nested arrays and objects together. Raises Refusal: "too-large" beyond max_bytes, else "malformed".
    """
    if len(data) > max_bytes:
        raise Refusal("too-large", f"{len(data)} bytes of JSON, at most {max_bytes} are accepted")
    _check_depth(data, max_depth)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Refusal("malformed", f"byte {error.start} is not UTF-8") from None
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        if text.startswith("\ufeff"):
            raise Refusal("malformed", "the JSON begins with a byte order mark: remove it") from None
        raise Refusal("malformed", f"not JSON at character {error.pos}: {error.msg}") from None
    if b"\\u" in data:  # only an escape can smuggle a lone surrogate past the UTF-8 decoder
        try:
            dumps(value)
        except UnicodeEncodeError:
            raise Refusal("malformed", "a string holds a lone surrogate, which is no character") from None
    return value


def dumps(value: Any) -> bytes:
    """Canonical JSON: sorted keys, no spaces, UTF-8 unescaped.

    Raises ValueError for what JSON cannot say: NaN, a lone surrogate.
    """
    return _ENCODER.encode(value).encode()


def b64(data: bytes) -> str:
    """base64url without padding."""
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=").decode()


def unb64(text: str | bytes) -> bytes:
    """The bytes of an unpadded base64url text that re-encodes to itself. Raises Refusal "malformed"."""
    try:
        raw = text if isinstance(text, bytes) else text.encode("ascii")
        # "==" completes any length; what it completes wrongly does not re-encode to itself
        data = binascii.a2b_base64(raw.translate(_FROM_URL) + b"==")
    except (ValueError, AttributeError):
        raise Refusal("malformed", "not base64url") from None
    if binascii.b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=") != raw:
        raise Refusal("malformed", "not base64url without padding, whose unused bits are zero")
    return data


def _check_depth(data: bytes, max_depth: int) -> None:
    """Refuse deep nesting before the recursive parser sees it, in linear time.

    Drop the strings and all but the brackets; then each round removes the innermost level. The parser never nests
    deeper than these brackets do, so text that is gone after max_depth rounds cannot make it recurse further.
    """
    if data.count(b"[") + data.count(b"{") <= max_depth:
        return
    # without a backslash, strings are every second part between quotes: four times quicker than the expression
    outside = _STRING.sub(b"", data) if b"\\" in data else b"".join(data.split(b'"')[::2])
    brackets = outside.translate(None, _NOT_BRACKETS)
    for _ in range(max_depth):
        if not brackets:
            return
        # both kinds at once: a level may be mixed, and "[]" must not be made by removing "{}" in the same round
        brackets = brackets.replace(b"[]", b" ").replace(b"{}", b" ").replace(b" ", b"")
    if brackets:
        raise Refusal("malformed", f"nested deeper than {max_depth} levels, or brackets that do not match")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise Refusal("malformed", f"the name {twice[:64]!a} occurs twice in one object")
    return members


def _integer(text: str) -> int:
    # 2^53 has 16 digits; the length first, because int() of a long text is slow
    if len(text) > 17 or not -MAX_INT <= (number := int(text)) <= MAX_INT:
        raise Refusal("malformed", f"the integer {text[:24]} is beyond 2^53, where doubles lose digits")
    return number


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise Refusal("malformed", f"the number {text[:24]} is too large")
    return number


def _constant(text: str) -> NoReturn:
    raise Refusal("malformed", f"{text} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant)
_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
