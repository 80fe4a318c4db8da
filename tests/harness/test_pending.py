"""The list of waiting measurements: it can be read, and each of its rows runs, at tiny shapes, on the CPU."""

from __future__ import annotations

import os
import re
import shlex
import sys
import tarfile
import time
from pathlib import Path

import pytest

from harness.bench import pending
from harness.bench.pending import Row
from tests.helpers import ROOT

LIST = pending.rows((ROOT / pending.LIST).read_text())
TINY = {
    "bench": {
        "--model": "tiny", "--prompts": "2", "--group-size": "2", "--prompt-tokens": "0", "--max-new-tokens": "4",
        "--rounds": "1", "--repeats": "1", "--device": "cpu", "--most": "40",
    },
    "run": {"--group-size": "2", "--device": "cpu"},
    "compare": {"--device": "cpu", "--workers": "1", "--seeds": "1", "--budget": "completions=8"},
}  # fmt: skip
TINY_JUDGE = {f"reward_model.{name}": f"reward_model.{name}=2" for name in ("prompts", "samples", "continuations")}
SMALL = ["--set", "prompts=2", "--set", "eval_fractions=1", "--eval-limit", "2", "--max-new-tokens", "6"]


def tiny(row: Row, out: Path) -> list[str]:
    """The row's own command, its sizes replaced and its arms but one left out."""
    words = shlex.split(row.command.rpartition(";")[2])
    assert words[:3] == ["python3", "-m", "harness.cli"]
    found, flags = [*words[3:]], {**TINY[words[3]], "--out": str(out)}
    for flag, value in flags.items():
        if flag in found:
            found[found.index(flag) + 1] = value
    if "--arms" in found:
        found[found.index("--arms") + 1] = found[found.index("--arms") + 1].split(",")[0]
    elif found[:2] == ["bench", "algos"]:
        found += ["--arms", "grpo"]
    if words[3] == "run":
        found = [w if not w.startswith("flops=") else "flops=1e8" for w in found]
        found = [w if not w.startswith("completions=") else "completions=20" for w in found]
        found = [TINY_JUDGE.get(w.partition("=")[0], w) for w in found]
        found += SMALL if "--budget" in found else [*SMALL, "--budget", "completions=8"]
    return found


def kind(row: Row) -> str:
    words = shlex.split(row.command.rpartition(";")[2])
    return " ".join(words[3:5]) if words[3] == "bench" else words[3]


def test_every_row_says_what_it_shows_and_fits_its_time() -> None:
    assert len(LIST) >= 5 and len({row.command for row in LIST}) == len(LIST)
    assert all(1 <= row.minutes * 60 <= pending.LONGEST and "; " in row.shows for row in LIST)
    assert all("results/gpu" in row.command or "pytest" in row.command for row in LIST)


@pytest.mark.parametrize(
    "row", [pytest.param(r, id=str(i)) for i, r in enumerate(LIST) if kind(r) in ("run", "bench algos", "bench limit")]
)
def test_a_row_runs_at_tiny_shapes(row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, and through the very functions of the command line."""
    import json

    from harness import cli
    from harness.bench import cell

    monkeypatch.setattr(cell, "run", lambda one: json.loads(json.dumps(cell.measure(one))))
    monkeypatch.setattr(sys, "argv", ["harness", *tiny(row, tmp_path)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    written = list(tmp_path.rglob("*.json"))
    assert written, "no record was written"


@pytest.mark.slow
@pytest.mark.parametrize(
    "row", [pytest.param(r, id=str(i)) for i, r in enumerate(LIST) if kind(r) in ("bench scale", "compare")]
)
def test_a_long_row_runs_at_tiny_shapes(row: Row, tmp_path: Path) -> None:
    import subprocess

    done = subprocess.run([sys.executable, "-m", "harness.cli", *tiny(row, tmp_path)], cwd=ROOT)
    assert done.returncode == 0 and any(tmp_path.rglob("*.json"))


@pytest.mark.peers
@pytest.mark.parametrize("row", [pytest.param(r, id=str(i)) for i, r in enumerate(LIST) if kind(r) == "bench peers"])
def test_a_row_against_the_peer(row: Row, tmp_path: Path) -> None:
    import subprocess

    pytest.importorskip("trl")
    done = subprocess.run([sys.executable, "-m", "harness.cli", *tiny(row, tmp_path)], cwd=ROOT)
    assert done.returncode == 0 and any(tmp_path.rglob("peers.json"))


def test_a_row_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ValueError, match=r"PENDING.md:2: a row is: - \[ \] `command`"):
        pending.rows("# rows\n- [ ] harness run, some day")


def test_rows_run_in_order_while_the_time_suffices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    python = "python3 -c"
    waiting = [
        Row(f"{python} \"open('results/a.json', 'w').write('1')\"", "a (about 1 minute; a file)", 1),
        Row("python3 -m harness.nothing_of_that_name", "b", 1),
        Row(f'{python} "print(2)"', "too long for what is left", 9),
        Row("mkdir -p results/checkpoints && touch results/checkpoints/w results/c.json", "a shell's line", 1),
    ]
    said: list[str] = []
    ended = pending.run(waiting, 5.0, tmp_path / "out" / "all.tar.gz", said.append)
    hows = [re.sub(r" \(.*", "", how) for _, how in ended]
    assert hows[0] == hows[3] == "done" and hows[1].startswith("failed with") and hows[2].startswith("left out: ")
    with tarfile.open(tmp_path / "out" / "all.tar.gz") as packed:
        assert sorted(packed.getnames()) == ["results/a.json", "results/c.json"]
    assert [line.split()[-1] for line in said[-4:]] == [row.command.split()[-1] for row in waiting]


def test_an_archive_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "LARGEST", 100)
    for name, size in (("small", 60), ("large", 90)):
        (tmp_path / name).write_bytes(os.urandom(size))
    old = tmp_path / "old"
    old.write_bytes(b"x")
    os.utime(old, (0, 0))
    said: list[str] = []
    pending.pack(tmp_path / "out" / "a.tar.gz", time.time() - 60, said.append, tmp_path)
    with tarfile.open(tmp_path / "out" / "a.tar.gz") as packed:
        assert [Path(n).name for n in packed.getnames()] == ["small"]
    assert said == [f"left out of the archive, too large: {tmp_path / 'large'}"]


def test_a_list_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="list: cannot read nowhere.md"):
        pending.bench(Path("nowhere.md"), 1.0, None, True, print)
