"""Versions, machine and commit beside a number."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.records import environment


@pytest.mark.parametrize("tracked", [True, False])
def test_the_commit_is_that_of_the_repository_that_tracks_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tracked: bool
) -> None:
    """An environment inside somebody else's repository holds an installed copy: the commit there says nothing of us."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path)]
    (tmp_path / "environment.py").write_text("")
    (tmp_path / "theirs.txt").write_text("")
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "environment.py" if tracked else "theirs.txt"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "x"], check=True)
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "environment.py"))
    assert bool(environment.environment("cpu", 1)["commit"]) is tracked
