"""Strict JSON and base64url: everything has one meaning or is refused."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.core import strict
from hub.core.errors import ComityError, Refusal

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "strict.json").read_text())

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-strict.MAX_INT, strict.MAX_INT)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=16
)


def _bytes(vector: dict[str, str]) -> bytes:
    return bytes.fromhex(vector["hex"]) if "hex" in vector else vector["text"].encode()


@pytest.mark.parametrize("name", VECTORS["accept"])
def test_what_is_plain_json_is_read_like_any_parser_reads_it(name: str) -> None:
    data = _bytes(VECTORS["accept"][name])
    assert strict.loads(data) == json.loads(data)


@pytest.mark.parametrize("name", VECTORS["refuse"])
def test_what_has_two_meanings_or_none_is_refused(name: str) -> None:
    with pytest.raises(Refusal) as refusal:
        strict.loads(_bytes(VECTORS["refuse"][name]))
    assert refusal.value.code == "malformed"
    assert 0 < len(refusal.value.detail) < 200


@given(JSON)
@settings(max_examples=150)
def test_parsing_is_the_inverse_of_writing(value: object) -> None:
    data = strict.dumps(value)
    assert strict.loads(data, max_depth=40) == value
    assert strict.dumps(strict.loads(data, max_depth=40)) == data


@given(st.binary(max_size=60) | st.text(alphabet='[]{}",:\\u0d8e19.-NaI \n', max_size=60).map(str.encode))
@settings(max_examples=400)
def test_arbitrary_bytes_are_read_as_json_reads_them_or_refused_and_nothing_else(data: bytes) -> None:
    try:
        value = strict.loads(data)
    except Refusal:
        return
    assert value == json.loads(data)


@given(JSON, st.data())
@settings(max_examples=150)
def test_damaged_json_is_refused_and_nothing_else(value: object, draw: st.DataObject) -> None:
    data = bytearray(strict.dumps(value))
    data[draw.draw(st.integers(0, len(data) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    try:
        strict.loads(bytes(data))
    except Refusal as refusal:
        assert refusal.code == "malformed"


@given(st.integers(0, 40), st.integers(1, 20), st.sampled_from(["[", '{"a":', '["[",', '{"\\"":']))
def test_depth_is_counted_exactly(depth: int, limit: int, opening: str) -> None:
    closing = "]" if opening[0] == "[" else "}"
    data = (opening * depth + "1" + closing * depth).encode()
    if depth <= limit:
        assert strict.loads(data, max_depth=limit) == json.loads(data)
    else:
        with pytest.raises(Refusal):
            strict.loads(data, max_depth=limit)


def test_canonical_json_has_sorted_names_no_spaces_and_raw_characters() -> None:
    assert (
        strict.dumps({"b": 1, "a": ["é", {"d": None, "c": True}]}) == '{"a":["é",{"c":true,"d":null}],"b":1}'.encode()
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_what_json_cannot_say_is_not_written(value: object) -> None:
    with pytest.raises(ValueError):
        strict.dumps([value])


def test_a_byte_order_mark_is_named() -> None:
    with pytest.raises(Refusal, match="byte order mark"):
        strict.loads(b"\xef\xbb\xbf{}")


def test_a_duplicate_name_is_named() -> None:
    with pytest.raises(Refusal, match="'kid'"):
        strict.loads(b'{"a":1,"kid":1,"b":2,"kid":2}')


def test_too_many_bytes_are_refused_unread() -> None:
    with pytest.raises(Refusal) as refusal:
        strict.loads(b"x" * 101, max_bytes=100)
    assert refusal.value.code == "too-large"
    assert strict.loads(b" " * 99 + b"1", max_bytes=100) == 1
    assert strict.loads(b" " * 65_535 + b"1") == 1
    with pytest.raises(Refusal):
        strict.loads(b" " * 65_536 + b"1")


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 65_536,
        b'{"a":' * 13_000,
        b'["' + b'\\"[' * 21_000,
        b'"' * 65_536,
        b'"\\' * 32_768,
        b"[" + b'"\\\\",' * 10_000,
        b"{" + b",".join(b'"%d":1' % n for n in range(6_500)) + b',"6499":1}',
        b"1" * 65_536,
        b"[]" * 32_768,
        b"[" * 32_768 + b"]" * 32_768,
    ],
    ids=lambda data: repr(data[:12]),
)
def test_hostile_input_of_full_size_is_refused_quickly(data: bytes) -> None:
    """No recursion, nothing quadratic: the limit is a hundred times what it takes."""
    began = time.process_time()
    with pytest.raises(Refusal):
        strict.loads(data)
    assert time.process_time() - began < 0.5


@given(st.binary(max_size=70))
def test_base64url_is_the_inverse_of_itself(data: bytes) -> None:
    assert strict.unb64(strict.b64(data)) == data
    assert strict.unb64(strict.b64(data).encode()) == data


@given(st.text(max_size=12) | st.text(alphabet="AQgw-_+/=~ \n", max_size=9))
@settings(max_examples=300)
def test_a_text_is_the_base64url_of_its_bytes_or_refused(text: str) -> None:
    try:
        data = strict.unb64(text)
    except Refusal as refusal:
        assert refusal.code == "malformed"
    else:
        assert strict.b64(data) == text


@pytest.mark.parametrize(
    "text", ["QQ==", "QR", "Q", "QUJ", "QUI=", "a+b/", "QQ ", "Q\nQ", "QQ\n", "é", "QQQQ====", 7, None, ["QQ"]]
)
def test_other_spellings_of_base64_are_refused(text: str) -> None:
    with pytest.raises(Refusal):
        strict.unb64(text)


def test_base64url_uses_the_alphabet_of_rfc_4648_section_5() -> None:
    assert strict.b64(b"\xfb\xff\xbf") == "-_-_"
    assert strict.unb64("-_-_") == b"\xfb\xff\xbf"
    assert strict.b64(b"") == ""


def test_a_refusal_says_code_and_detail() -> None:
    refusal = Refusal("malformed", "what and where")
    assert (refusal.code, refusal.detail, str(refusal)) == ("malformed", "what and where", "malformed: what and where")
    assert isinstance(refusal, ComityError)
