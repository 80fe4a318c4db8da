"""What a run left behind is used only where it is whole: else the checkpoint before it, and it is said."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli import main
from tests.harness.training.test_resume import ARMS, record_of, same, words

Damage = Callable[[Path], None]  # done to a run's folder
FILES = ["policy.safetensors", "critic.safetensors", "reference.safetensors", "optimizer.pt", "state.json"]
LOGS = ["metrics.jsonl", "samples.jsonl"]


def go(name: str, arm: str, model: Path, out: Path, *more: str) -> int:
    given = ["harness", *words(name, model, out, *ARMS[arm]), "--set", "keep_checkpoints=9", *more]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stop:
        patch.setattr(sys, "argv", given)
        main.main()
    return int(stop.value.code or 0)


@pytest.fixture(scope="module")
def whole(taught: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each kind, to its end, with checkpoints at rounds 3, 6 and 9 (and of RFT at 12)."""
    out = tmp_path_factory.mktemp("runs")
    for arm in ("ppo", "rft"):
        assert go(arm, arm, taught, out) == 0
    return {arm: out / arm for arm in ("ppo", "rft")}


def cut(whole: Path, out: Path) -> Path:
    """The same as if it had been interrupted before its end."""
    folder = out / "cut"
    shutil.copytree(whole, folder)
    shutil.rmtree(folder / "checkpoints" / "final")
    (folder / "record.json").write_text(json.dumps({**record_of(folder), "status": "interrupted", "reason": "x"}))
    return folder


def newest(folder: Path) -> Path:
    return max((folder / "checkpoints").glob("round-*"))


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def damaged(name: str, harm: Callable[[Path], None]) -> Damage:
    return lambda folder: harm(newest(folder) / name)


def without_lines(name: str, since: int) -> Damage:
    """A log that was cut at a line's end."""

    def harm(folder: Path) -> None:
        lines = (folder / name).read_text().splitlines(keepends=True)
        (folder / name).write_text("".join(line for line in lines if json.loads(line)["round"] < since))

    return harm


def without_round(name: str, lost: int) -> Damage:
    def harm(folder: Path) -> None:
        lines = (folder / name).read_text().splitlines(keepends=True)
        (folder / name).write_text("".join(line for line in lines if json.loads(line)["round"] != lost))

    return harm


def half_a_line(name: str, last: int) -> Damage:
    """Cut in the middle of that round's line."""

    def harm(folder: Path) -> None:
        lines = (folder / name).read_text().splitlines(keepends=True)
        kept = [line for line in lines if json.loads(line)["round"] <= last]
        (folder / name).write_text("".join(kept)[:-30])

    return harm


# name: (what is done to the folder, the checkpoint that the run goes on from, what the notice says)
DAMAGES: dict[str, tuple[Damage, int, str]] = {
    **{f"a bit of {name}": (damaged(name, flip), 6, f"{name} is not as it was written") for name in FILES},
    "half of the weights": (damaged("policy.safetensors", truncate), 6, "policy.safetensors is not as it was written"),
    "half of the moments": (damaged("optimizer.pt", truncate), 6, "optimizer.pt is not as it was written"),
    "no moments": (damaged("optimizer.pt", Path.unlink), 6, "optimizer.pt is missing"),
    "no value model": (damaged("critic.safetensors", Path.unlink), 6, "critic.safetensors is missing"),
    "half of the checksums": (damaged("checksums.json", truncate), 6, "checksums.json cannot be read"),
    "no checksums": (damaged("checksums.json", Path.unlink), 6, "checksums.json is missing"),
    "metrics up to round 8": (without_lines("metrics.jsonl", 9), 6, "metrics.jsonl has"),
    "metrics up to round 5": (without_lines("metrics.jsonl", 6), 3, "metrics.jsonl has"),
    "samples up to round 8": (without_lines("samples.jsonl", 9), 6, "samples.jsonl has"),
    "metrics without round 7": (without_round("metrics.jsonl", 7), 6, "metrics.jsonl"),
    "half a line of metrics": (half_a_line("metrics.jsonl", 8), 6, "metrics.jsonl has"),
    "half a line of samples": (half_a_line("samples.jsonl", 4), 3, "samples.jsonl has"),
    "a flipped bit in the metrics": (lambda f: flip(f / "metrics.jsonl"), 3, "metrics.jsonl is not as it was written"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_the_newest_whole_checkpoint_is_used(
    name: str, whole: dict[str, Path], taught: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, used, part = DAMAGES[name]
    folder = cut(whole["ppo"], tmp_path)
    damage(folder)
    assert go("cut", "ppo", taught, tmp_path, "--resume") == 0
    said = " ".join(capsys.readouterr().out.split())
    same(folder, whole["ppo"])
    lost = [f"round-{n:05d}" for n in (9, 6, 3) if n > used]
    notices = record_of(folder)["notices"]
    for checkpoint in lost:
        [notice] = [n for n in notices if n.startswith(f"checkpoint {checkpoint} is not used: ")]
        assert part in notice and f"set aside as aside-{checkpoint}" in notice and notice in said
        assert (folder / "checkpoints" / f"aside-{checkpoint}").is_dir()
    assert f"resumed from checkpoint round-{used:05d}, the newest that is whole" in notices
    assert {p.name for p in (folder / "checkpoints").glob("round-*")} == {"round-00003", "round-00006", "round-00009"}


def test_a_replay_that_was_damaged_and_a_second_time(whole: dict[str, Path], taught: Path, tmp_path: Path) -> None:
    """A run that samples first; what it tells is still in the record after it was resumed again."""
    folder = cut(whole["rft"], tmp_path)
    flip(newest(folder) / "replay.safetensors")
    for _ in range(2):
        assert go("cut", "rft", taught, tmp_path, "--resume") == 0
        same(folder, whole["rft"], 13)
        told = [n for n in record_of(folder)["notices"] if "checkpoint" in n]
        assert len(told) == 2 and "replay.safetensors is not as it was written" in told[0]
        (folder / "record.json").write_text(json.dumps({**record_of(folder), "status": "interrupted"}))


@pytest.mark.parametrize(
    ("damage", "part"),
    [
        (lambda folder: [flip(p / "policy.safetensors") for p in (folder / "checkpoints").glob("round-*")], "policy"),
        (lambda folder: [(p / "state.json").unlink() for p in (folder / "checkpoints").glob("round-*")], "state.json"),
        (without_lines("metrics.jsonl", 3), "metrics.jsonl has"),
        (lambda folder: (folder / "metrics.jsonl").unlink(), "metrics.jsonl has 0 bytes"),
        (lambda folder: (folder / "samples.jsonl").unlink(), "samples.jsonl has 0 bytes"),
    ],
)
def test_where_none_is_whole_the_run_is_not_begun(
    damage: Damage, part: str, whole: dict[str, Path], taught: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = cut(whole["ppo"], tmp_path)
    damage(folder)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert go("cut", "ppo", taught, tmp_path, "--resume") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"{folder} has no checkpoint that is whole" in error and part in error
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


# --- checkpoints of before there were checksums -----------------------------------------------------------------


def old(folder: Path) -> Path:
    """As they were written then."""
    for checkpoint in (folder / "checkpoints").glob("round-*"):
        (checkpoint / "checksums.json").unlink()
        state = json.loads((checkpoint / "state.json").read_text())
        del state["logs"]
        (checkpoint / "state.json").write_text(json.dumps(state))
    return folder


OLD_DAMAGES: dict[str, tuple[Damage, int]] = {
    "nothing": (lambda folder: None, 9),
    "half of the weights": (damaged("policy.safetensors", truncate), 6),
    "half of the moments": (damaged("optimizer.pt", truncate), 6),
    "half of the state": (damaged("state.json", truncate), 6),
    "no weights": (damaged("policy.safetensors", Path.unlink), 6),
    "metrics without round 7": (without_round("metrics.jsonl", 7), 6),
    "half a line of metrics": (half_a_line("metrics.jsonl", 8), 6),
    "half a line of the round after": (half_a_line("metrics.jsonl", 10), 9),
    "samples up to round 5": (without_lines("samples.jsonl", 6), 3),
}


@pytest.mark.parametrize("name", OLD_DAMAGES)
def test_old_checkpoints_are_used_where_they_can_be_read(
    name: str, whole: dict[str, Path], taught: Path, tmp_path: Path
) -> None:
    damage, used = OLD_DAMAGES[name]
    folder = old(cut(whole["ppo"], tmp_path))
    damage(folder)
    assert go("cut", "ppo", taught, tmp_path, "--resume") == 0
    same(folder, whole["ppo"])
    told = [n for n in record_of(folder)["notices"] if n.startswith("resumed from")]
    assert told == ([f"resumed from checkpoint round-{used:05d}, the newest that is whole"] if used < 9 else [])


def test_an_old_run_that_sampled_first(whole: dict[str, Path], taught: Path, tmp_path: Path) -> None:
    """Its passes over what it sampled have no samples of their own."""
    folder = old(cut(whole["rft"], tmp_path))
    assert go("cut", "rft", taught, tmp_path, "--resume") == 0
    same(folder, whole["rft"], 13)
    assert not [n for n in record_of(folder)["notices"] if "checkpoint" in n]
