"""What is wrong with the processes themselves is said before anything is begun, in one line."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli import main
from harness.processes import agreement, group
from harness.processes.group import Group, balanced, enter, part
from harness.processes.launch import joined, own_device
from tests.helpers import ROOT


def test_parts_are_all_of_it_once() -> None:
    for count in range(12):
        for size in range(1, 6):
            parts = [part(count, rank, size) for rank in range(size)]
            assert [i for p in parts for i in range(count)[p]] == list(range(count))
            sizes = [p.stop - p.start for p in parts]
            assert max(sizes) - min(sizes) <= 1


def test_balanced_parts_are_all_of_it_and_near_to_equal() -> None:
    costs = [float(3 + (7 * i) % 11) for i in range(40)]
    for size in range(1, 9):
        parts = balanced(costs, size)
        assert [i for p in parts for i in range(len(costs))[p]] == list(range(len(costs)))
        assert all(abs(sum(costs[p]) - sum(costs) / size) <= max(costs) for p in parts)
    assert [len(range(2)[p]) for p in balanced([1.0, 1.0], 4)] == [0, 1, 0, 1]  # fewer items than ranks


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE=two in the environment: must be a whole number"),
        ({"WORLD_SIZE": "2"}, "RANK=None: must lie in 0..1, for WORLD_SIZE=2"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "RANK=2: must lie in 0..1, for WORLD_SIZE=2"),
    ],
)
def test_variables_that_do_not_fit(variables: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words), joined(variables):
        pass


def test_a_port_in_use() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        place = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        code = "from harness.processes.launch import joined\nwith joined(): pass"
        env = {**os.environ, **place, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=env)
    assert f"ValueError: MASTER_PORT={port} is in use on 127.0.0.1: choose another" in done.stderr


class Two(Group):
    """Two ranks, of which the other says something else."""

    size = 2

    def __init__(self, other: dict[str, object]) -> None:
        self.other = other

    def gather(self, value: object) -> list[object]:  # type: ignore[override]
        return [value, self.other]


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "_current", [group.current()])


def test_ranks_that_differ_are_named(two: None) -> None:
    enter(Two({"torch": "2.12", "numpy": "2"}))
    with pytest.raises(
        ValueError, match="^processes: rank 1 differs from rank 0 in torch: 2.12 where it has 2.13; ins"
    ):
        agreement.check_same("processes", {"torch": "2.13", "numpy": "2"}, "install the same versions")


def test_each_process_has_a_device(two: None) -> None:
    assert own_device("cuda", 0) == "cuda"  # alone: torch's own error says what is wrong
    enter(Two({}))
    assert own_device("cpu", 0) == "cpu"
    assert own_device("cuda", 2, {"LOCAL_RANK": "1"}) == "cuda:1"
    with pytest.raises(ValueError, match="^device: 4 processes on this machine, and torch finds 2 CUDA devices; start"):
        own_device("cuda", 2, {"LOCAL_RANK": "2", "LOCAL_WORLD_SIZE": "4"})
    with pytest.raises(ValueError, match="^device: cuda:0 is one device, and 2 processes need one each: device=cuda$"):
        own_device("cuda:0", 2, {"LOCAL_RANK": "0"})


@pytest.mark.parametrize("command", ["compare", "ablate", "plan"])
def test_other_commands_are_not_shared(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(sys, "argv", ["harness", command])
    with pytest.raises(SystemExit) as stop:
        main.main()
    assert stop.value.code == 2
    assert f"start `harness {command}` without a launcher" in capsys.readouterr().err


def test_the_package_is_a_command(tmp_path: Path) -> None:
    """What `accelerate launch -m harness` and `torchrun -m harness` start."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "harness", "run", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, env=env, cwd=tmp_path)
    assert done.returncode == 0 and "Train one algorithm under one budget" in done.stdout
