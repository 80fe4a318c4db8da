"""What RL draws, and what becomes of the sets that a run is measured on."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from evals.scoring import task_files
from evals.tasks import Problem
from evals.tasks.arithmetic import Arithmetic
from evals.tasks.data.arithmetic_chains import Chain
from harness.config.run_config import resolve
from harness.training.setup import prepare
from tests.harness.tiny_models import SIZES

DEFAULT = {  # of the problems as they were before there was anything to choose
    "train": "4c038f7a714f0789",
    "selection": "ad019dc37ac74dcd",
    "arithmetic": "85fc90fd3ac71f5f",
    "arithmetic_t1": "85fc90fd3ac71f5f",
    "arithmetic_longer": "92a6b023aaa1d1ee",
    "arithmetic_larger": "33e7fd649c38581e",
    "arithmetic_worded": "b5a82a33502b0826",
    "sorting": "33b84c0dfcae7b1a",
}
OTHER: dict[str, dict[str, Any]] = {
    "longer": {"numbers": (7, 8), "most": 60},
    "larger": {"least": 31, "most": 60},
    "five": {"numbers": (5,)},
    "short": {"numbers": (2, 4), "most": 20},
}


def digest(problems: Sequence[Problem]) -> str:
    return sha256("\n".join(f"{p.id} {p.prompt} {p.gold}" for p in problems).encode()).hexdigest()[:16]


def sets(task: Arithmetic) -> dict[str, Sequence[Problem]]:
    return {s.name: s.problems for s in task.eval_sets()}


def test_the_default_draws_what_it_always_drew() -> None:
    task = Arithmetic()
    drawn = {"train": task.train(), "selection": task.selection(), **sets(task)}
    assert {name: digest(problems) for name, problems in drawn.items()} == DEFAULT
    assert task.notices() == []


@pytest.mark.parametrize("what", OTHER)
def test_what_is_drawn_is_what_was_asked_for_and_splits_never_meet(what: str) -> None:
    task = Arithmetic(train_size=300, test_size=60, other_size=40, **OTHER[what])
    drawn = {"train": task.train(), "selection": task.selection(), "test": sets(task)["arithmetic"]}
    for problems in drawn.values():
        chains = [Chain.parse(p.source) for p in problems]
        assert {len(c.flat) for c in chains} == set(task.numbers)
        sizes = {abs(x) for c in chains for x in c.flat}
        assert task.least <= min(sizes) < task.least + 5 and task.most - 5 < max(sizes) <= task.most
    tests = {p.id for problems in sets(task).values() for p in problems}
    train, selection = ({p.id for p in drawn[split]} for split in ("train", "selection"))
    assert not train & selection and not train & tests and not selection & tests
    assert not {p.id for p in Arithmetic().train()} & tests  # what a run with other settings was trained on


@pytest.mark.parametrize(
    ("fields", "gone"),
    [
        ({"numbers": (2, 4), "most": 20}, []),
        ({"numbers": (3, 5)}, ["arithmetic_longer"]),
        ({"numbers": (6,)}, ["arithmetic_longer"]),  # 5 numbers are not longer
        ({"most": 31}, ["arithmetic_larger"]),
        ({"numbers": (7, 8), "most": 60}, ["arithmetic_longer", "arithmetic_larger"]),
    ],
)
def test_a_set_whose_name_would_be_false_is_left_out(fields: dict[str, Any], gone: list[str]) -> None:
    task = Arithmetic(**fields)
    found = sets(task)
    assert set(DEFAULT) - {"train", "selection"} - set(found) == set(gone)
    assert [notice.split()[0] for notice in task.notices()] == gone
    for name in set(found) - {"arithmetic", "arithmetic_t1"}:  # the rest is what it always was
        assert digest(found[name]) == DEFAULT[name]


def test_the_fields_reach_the_task_by_every_road(taught: Path, tmp_path: Path) -> None:
    """The command line and a file; and the run says what it left out."""
    (tmp_path / "c.toml").write_text("task = { numbers = [5, 6], most = 40 }\n")
    sizes = [f"task.{name}={value}" for name, value in SIZES.items()]
    flags = {"model": str(taught), "out": str(tmp_path)}
    typed = prepare(resolve(flags, [*sizes, "task.numbers=5,6", "task.most=40"], None))
    filed = prepare(resolve(flags, sizes, str(tmp_path / "c.toml")))
    assert typed.record["config"]["task"]["numbers"] == [5, 6]
    assert typed.record["environment"]["data"] == filed.record["environment"]["data"]
    assert [s.name for s in typed.eval_sets] == ["arithmetic", "arithmetic_t1", "arithmetic_worded", "sorting"]
    assert typed.notices[1:] == [  # the first says what the model's folder sets
        "arithmetic_longer is left out: RL draws chains of 5, 6 numbers in 1..40",
        "arithmetic_larger is left out: RL draws chains of 5, 6 numbers in 1..40",
    ]


def test_the_files_of_lm_eval_have_the_same_problems_and_judge(tmp_path: Path) -> None:
    task = Arithmetic(numbers=(6,), most=50, test_size=12, other_size=5)
    task_files.write(task.spec(), task.eval_sets(), tmp_path, 56)
    for s in task.eval_sets():
        file = task_files.read(tmp_path, s.name)
        assert file.problems == list(s.problems)
        again = task_files.build(file.spec)
        for p in s.problems:
            for text in (f"#### {p.gold}", f"#### {int(p.gold) + 1}", ""):
                assert again.verify(p, text, True) == task.verify(p, text, True)
