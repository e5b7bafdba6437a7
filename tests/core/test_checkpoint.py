"""Signed notes and checkpoints: the notes of the first implementation, and strictness in every line."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.core.checkpoint import (
    Checkpoint,
    Signer,
    Verifier,
    open_checkpoint,
    open_note,
    sign_checkpoint,
    sign_note,
)
from hub.core.errors import VerificationFailed

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "signed-note.json").read_text())
TEXT = VECTORS["text"]
PETER = Verifier.parse(VECTORS["keys"]["PeterNeumann"])
ENOCH = Verifier.parse(VECTORS["keys"]["EnochRoot"])
PETERS_LINE, ENOCHS_LINE = VECTORS["signatures"]["PeterNeumann"], VECTORS["signatures"]["EnochRoot"]
NOTE = f"{TEXT}\n{PETERS_LINE}{ENOCHS_LINE}".encode()

HUB = Signer("hub.example/ledger", Ed25519PrivateKey.from_private_bytes(b"\x05" * 32))
CHECKPOINT = Checkpoint("hub.example/ledger", 1042, b"\xfb" * 32)
SIGNED = sign_checkpoint(CHECKPOINT, HUB)


def test_a_known_key_signs_the_known_note() -> None:
    signer = Signer("PeterNeumann", Ed25519PrivateKey.from_private_bytes(bytes.fromhex(VECTORS["seed"])))
    assert signer.verifier == PETER
    assert sign_note(TEXT, signer) == f"{TEXT}\n{PETERS_LINE}".encode()


def test_a_verifier_key_is_read_as_it_is_written() -> None:
    assert PETER.vkey() == VECTORS["keys"]["PeterNeumann"]
    assert (PETER.name, PETER.key_id.hex()) == ("PeterNeumann", "c74f20a3")
    assert Verifier.parse(HUB.verifier.vkey()) == HUB.verifier


def test_a_mangled_verifier_key_is_refused() -> None:
    """Every substring and every changed character of it."""
    vkey = PETER.vkey()
    pieces = {vkey[start:end] for start in range(len(vkey)) for end in range(start, len(vkey) + 1)} - {vkey}
    changed = {vkey[:at] + chr(ord(vkey[at]) + 1) + vkey[at + 1 :] for at in range(len(vkey))}
    for mangled in pieces | changed | {vkey + "\n", " " + vkey, vkey.replace("c74f20a3", "C74F20A3"), vkey + "é"}:
        with pytest.raises(VerificationFailed):
            Verifier.parse(mangled)


@pytest.mark.parametrize("fault", VECTORS["bad_keys"])
def test_a_verifier_key_of_another_kind_is_refused(fault: str) -> None:
    with pytest.raises(VerificationFailed):
        Verifier.parse(VECTORS["bad_keys"][fault])


@pytest.mark.parametrize("name", ["", "a b", "a+b", " a", "a\n", "a\u2003b"])
def test_a_name_has_no_space_and_no_plus(name: str) -> None:
    with pytest.raises(VerificationFailed):
        Verifier(name, bytes(32))


def test_signatures_of_unknown_keys_are_ignored() -> None:
    assert open_note(NOTE, PETER) == (TEXT, ["PeterNeumann"])
    assert open_note(NOTE, PETER, ENOCH) == (TEXT, ["PeterNeumann", "EnochRoot"])
    assert open_note(f"{TEXT}\n{PETERS_LINE}{PETERS_LINE}".encode(), PETER) == (TEXT, ["PeterNeumann"])
    assert open_note(sign_note(TEXT, HUB), HUB.verifier, PETER) == (TEXT, [HUB.name])


def test_a_wrong_signature_of_a_known_key_is_an_error_and_of_an_unknown_is_not() -> None:
    wrong = f"{TEXT}\n{PETERS_LINE}{ENOCHS_LINE.replace('zmZa', 'zmZb')}".encode()
    assert open_note(wrong, PETER)[1] == ["PeterNeumann"]
    with pytest.raises(VerificationFailed, match="EnochRoot"):
        open_note(wrong, PETER, ENOCH)


def test_a_note_that_nobody_known_has_signed_is_refused() -> None:
    with pytest.raises(VerificationFailed, match="EnochRoot"):
        open_note(f"{TEXT}\n{PETERS_LINE}".encode(), ENOCH)
    with pytest.raises(VerificationFailed, match="any known key"):
        open_note(NOTE)


def test_a_name_alone_does_not_make_a_key_known() -> None:
    impostor = Signer("PeterNeumann", HUB.key)
    with pytest.raises(VerificationFailed, match="not signed by"):
        open_note(sign_note(TEXT, impostor), PETER)


@pytest.mark.parametrize("fault", VECTORS["bad_notes"])
def test_a_malformed_note_is_refused(fault: str) -> None:
    with pytest.raises(VerificationFailed):
        open_note(VECTORS["bad_notes"][fault].encode(), PETER)


@pytest.mark.parametrize("note", [b"\xff" + NOTE, NOTE + b"\xc3", b"x" * 1_000_001, NOTE.replace(b"\n", b"\r\n")])
def test_bytes_that_are_no_note_are_refused(note: bytes) -> None:
    with pytest.raises(VerificationFailed):
        open_note(note, PETER)


@pytest.mark.parametrize("text", ["", "no line break", "a\tb\n", "a\x00\n", "a\r\n"])
def test_a_text_that_would_not_read_back_is_not_signed(text: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        sign_note(text, HUB)


def test_a_text_with_empty_lines_reads_back() -> None:
    text = "a\n\n\nb\n\n— no signature\n"
    assert open_note(sign_note(text, HUB), HUB.verifier)[0] == text


def test_a_checkpoint_reads_back_as_it_was_signed() -> None:
    assert SIGNED.decode().splitlines()[:4] == ["hub.example/ledger", "1042", "+/v7" * 10 + "+/s=", ""]
    assert open_checkpoint(SIGNED, HUB.verifier) == CHECKPOINT
    extended = Checkpoint("hub.example/ledger", 0, bytes(32), ("one", "two words"))
    assert open_checkpoint(sign_checkpoint(extended, HUB), HUB.verifier) == extended


@given(
    st.text("abc.-/", min_size=1),
    st.integers(0, 2**63),
    st.binary(min_size=32, max_size=32),
    st.lists(st.text("ab c", min_size=1), max_size=3),
)
def test_the_text_of_a_checkpoint_is_read_as_it_is_written(
    origin: str, size: int, root: bytes, more: list[str]
) -> None:
    checkpoint = Checkpoint(origin, size, root, tuple(more))
    assert Checkpoint.parse(checkpoint.text()) == checkpoint


ROOT = "A" * 43 + "="


@pytest.mark.parametrize(
    "text",
    [
        "", "o\n", "o\n1\n", f"o\n1\n{ROOT}", f"\n1\n{ROOT}\n", f"o\n01\n{ROOT}\n", f"o\n+1\n{ROOT}\n",
        f"o\n-1\n{ROOT}\n", f"o\n1 \n{ROOT}\n", f"o\n1x\n{ROOT}\n", f"o\n\n{ROOT}\n", f"o\n٣\n{ROOT}\n",
        f"o\n{'9' * 20}\n{ROOT}\n", f"o\n1\n{ROOT}\n\n", f"o\n1\n{ROOT} \n", f"o\n1\n{ROOT[:-1]}\n",
        f"o\n1\n{'A' * 42}B=\n", f"o\n1\n{'_' * 43}=\n", "o\n1\nAAAA\n", f"o\n1\n{ROOT}\next\n\n",
    ],
)  # fmt: skip
def test_a_checkpoint_has_one_spelling(text: str) -> None:
    with pytest.raises(VerificationFailed):
        Checkpoint.parse(text)


@pytest.mark.parametrize(
    "checkpoint",
    [
        Checkpoint("", 1, bytes(32)),
        Checkpoint("a\nb", 1, bytes(32)),
        Checkpoint("a", -1, bytes(32)),
        Checkpoint("a", 1, bytes(31)),
        Checkpoint("a", 1, bytes(32), ("",)),
        Checkpoint("a", 1, bytes(32), ("x\ny",)),
    ],
)
def test_a_checkpoint_that_would_not_read_back_has_no_text(checkpoint: Checkpoint) -> None:
    with pytest.raises(VerificationFailed):
        checkpoint.text()


def test_the_key_of_one_log_cannot_speak_for_another() -> None:
    foreign = Checkpoint("other.example", 1, bytes(32))
    with pytest.raises(ValueError, match=r"other\.example"):
        sign_checkpoint(foreign, HUB)
    with pytest.raises(VerificationFailed, match=r"other\.example"):
        open_checkpoint(sign_note(foreign.text(), HUB), HUB.verifier)


def test_every_single_bit_flip_of_a_checkpoint_is_refused() -> None:
    for position in range(len(SIGNED)):
        for bit in range(8):
            flipped = bytearray(SIGNED)
            flipped[position] ^= 1 << bit
            with pytest.raises(VerificationFailed):
                open_checkpoint(bytes(flipped), HUB.verifier)


@given(st.binary(max_size=80) | st.text("a\n— +1=", max_size=60).map(str.encode))
@settings(max_examples=200)
def test_arbitrary_bytes_fail_verification_and_nothing_else(note: bytes) -> None:
    with pytest.raises(VerificationFailed):
        open_checkpoint(note, HUB.verifier)
