"""New passwords: long, in a file of their own that nobody else can read."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from hub.access import passwords
from hub.access.passwords import SecretsError, alone, keep, new_password


def test_a_password_cannot_be_guessed_and_is_never_the_same() -> None:
    made = {new_password() for _ in range(100)}
    assert len(made) == 100 and {len(password) for password in made} == {43}


def test_a_password_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    path = keep(tmp_path / "secrets", "us-ab", "first")
    assert path == tmp_path / "secrets" / "us-ab.password" and path.read_text() == "first\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_new_one_replaces_the_old_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / ".us-ab.password.new").write_text("left by a crash")
    keep(tmp_path, "us-ab", "first")
    keep(tmp_path, "us-ab", "second")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"us-ab.password": "second\n"}


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SecretsError, match=r"password of us-ab in .*file"):
        keep(tmp_path / "file", "us-ab", "x")


async def test_two_do_not_make_users_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the password of one could be in the file and that of the other on the cluster."""
    monkeypatch.setattr(passwords, "LOCK_SECONDS", 0.1)
    async with alone(tmp_path / "secrets"):
        with pytest.raises(SecretsError, match="another process"):
            async with alone(tmp_path / "secrets"):
                pass
    async with alone(tmp_path / "secrets"):
        pass
