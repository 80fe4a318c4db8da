"""A study: what its file says, what it becomes, and one plain line for whatever is wrong in it."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.config.experiment import resolve_experiment
from harness.config.overrides import merge_overrides
from harness.config.run_config import RunConfig
from harness.records.fingerprint import config_differences
from harness.studies.ad_hoc import FRACTIONS, override_study, study_from_flags
from harness.studies.planned_run import PlannedRun, label
from harness.studies.schema import Report, Tune
from harness.studies.study import Study, load, names, parse
from tests.harness.record_factory import Type, typist

ARMS = {"narrow": {"algo": {"name": "grpo"}}, "wide": {"algo": {"name": "grpo", "clip_high": 0.4}}}
GRID = {"lr": [1e-4, 2e-4, 4e-4], "algo.clip_low": [0.1, 0.2]}
TUNE = {"grid": GRID, "seeds": [100, 101]}

WHOLE = """
question = "Does the clip matter?"
source = "2402.03300 §4.1"
prediction = "no"
seeds = 3
[base]
model = "nano"
budget = "completions=64"
algo.kl_coef = 0
[arms.narrow]
algo = "grpo"
[arms.wide]
algo.name = "grpo"
algo.clip_high = 0.4
seeds = [5, 1]
[tune]
seeds = [100, 101]
trials = 3
store = "other"
base = { budget = "completions=32" }
[tune.grid]
lr = [1e-4, 2e-4]
"algo.clip_low" = [0.1, 0.2]
[report]
endpoint = "arithmetic_longer"
margin = 1
level = 0.8
family = [["narrow", "wide"]]
[report.blocks]
both = ["narrow", "wide"]
"""


def make_study(**table: Any) -> Study:
    """`parse` fills in seeds where they stand, so it gets a table of its own."""
    return parse("s", copy.deepcopy({"arms": ARMS, "seeds": 2, **table}))


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(ValueError) as error:
        call()
    message = str(error.value)
    assert "\n" not in message
    return message


def values(run: PlannedRun, *fields: str) -> list[Any]:
    return [getattr(run.config("out"), name) for name in fields]


# ---------------------------------------------------------------- reading


def test_every_field_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "clip.toml").write_text(WHOLE)
    assert load(str(tmp_path / "clip.toml")) == Study(
        name="clip",
        question="Does the clip matter?",
        source="2402.03300 §4.1",
        prediction="no",
        seeds=[0, 1, 2],
        base={"model": "nano", "budget": "completions=64", "algo": {"kl_coef": 0}},
        arms={
            "narrow": {"algo": {"name": "grpo"}},
            "wide": {"algo": {"name": "grpo", "clip_high": 0.4}, "seeds": [5, 1]},
        },
        tune=Tune(
            grid={"lr": [1e-4, 2e-4], "algo.clip_low": [0.1, 0.2]},
            seeds=[100, 101],
            trials=3,
            base={"budget": "completions=32"},
            store="other",
        ),
        report=Report(
            endpoint="arithmetic_longer",
            margin=1.0,
            level=0.8,
            family=[["narrow", "wide"]],
            blocks={"both": ["narrow", "wide"]},
        ),
    )


def test_what_a_study_is_by_default() -> None:
    study = make_study()
    assert (study.question, study.base, study.tune, study.trials()) == ("", {}, None, [])
    assert study.report == Report(endpoint="in", margin=2.0, blocks={}, family=[], level=0.9)


@pytest.mark.parametrize(("seeds", "expected"), [(3, [0, 1, 2]), ([7, 3], [7, 3]), (1, [0])])
def test_seeds_are_a_count_or_a_list(seeds: Any, expected: list[int]) -> None:
    assert make_study(seeds=seeds).seeds == expected
    own = make_study(arms={"a": {"seeds": seeds}, "b": {}}, seeds=2)
    assert {c.arm: [x.seed for x in own.runs() if x.arm == c.arm] for c in own.runs()} == {
        "a": sorted(expected),
        "b": [0, 1],
    }


def test_a_study_is_written_and_read_again(tmp_path: Path) -> None:
    """As `study.json` in its folder."""
    (tmp_path / "clip.toml").write_text(WHOLE)
    study = load(str(tmp_path / "clip.toml"))
    assert parse("clip", study.as_dict()) == study


def test_later_layers_lie_over_earlier_ones() -> None:
    layers = [{"lr": 1, "algo": "grpo", "task": {"name": "qa"}}, {"algo.kl_coef": 0, "task.few": 2}, {"lr": 2}]
    assert merge_overrides(*layers) == {
        "lr": 2,
        "algo": {"name": "grpo", "kl_coef": 0},
        "task": {"name": "qa", "few": 2},
    }
    assert layers[0] == {"lr": 1, "algo": "grpo", "task": {"name": "qa"}}, "a layer was changed"


def test_files_lie_beside_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are named from there, and reached from where the command is given."""
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    file = folder / "s.toml"
    file.write_text(
        'seeds = 1\nbase.reward = "mine.py:score"\n'
        '[arms]\na.algo = "mine.py"\nb.algo.name = "../x.py"\nc.algo = "grpo"\nd.reward = "other.py:f"\n'
        'e.algo = {name = "grpo", baseline = "own.py:half"}\n'
    )
    monkeypatch.chdir(tmp_path / "deep")
    study = load("er/s.toml")
    assert [arm.get("algo", {}).get("name") for arm in study.arms.values()] == [
        *("er/mine.py", "x.py", "grpo", None, "grpo"),
    ]
    assert (study.base["reward"], study.arms["d"]["reward"]) == ("er/mine.py:score", "er/other.py:f")
    assert study.arms["e"]["algo"] == {"name": "grpo", "baseline": "er/own.py:half"}
    monkeypatch.chdir("/")
    elsewhere = load(str(file)).arms
    assert Path("/", elsewhere["a"]["algo"]["name"]) == folder / "mine.py"


@pytest.mark.parametrize("name", names())
def test_shipped_studies(name: str) -> None:
    study = load(name)
    assert study.name == name and study.question and study.source and study.prediction
    assert {run.seed for run in study.runs()}.isdisjoint(run.seed for run in study.trials())
    assert len({run.path for run in study.runs()}) == len(study.runs())


def test_there_are_shipped_studies() -> None:
    assert "compare_nano" in names()


# ---------------------------------------------------------------- what is wrong

BAD: dict[str, tuple[dict[str, Any], list[str]]] = {
    # what is wrong -> (fields, what the line must say: first its beginning)
    "no arms": ({"arms": {}}, ["arms: ", "at least one"]),
    "arms that are no table": ({"arms": 3}, ["arms: ", "table"]),
    "an arm that is no table": ({"arms": {"a": 3}}, ["arms.a: ", "table"]),
    "an arm that is no folder": ({"arms": {"a/b": {}}}, ["arms.a/b: ", "letters, digits, - and _"]),
    "an arm in the trials' folder": ({"arms": {"tune": {}}}, ["arms.tune: ", "'tune'"]),
    "an arm's own seed": ({"arms": {"a": {"seed": 1}}}, ["arms.a.seed: ", "the study sets it"]),
    "an arm's own name": ({"arms": {"a": {"name": "x"}}}, ["arms.a.name: ", "the study sets it"]),
    "an arm's own out": ({"arms": {"a": {"out": "x"}}}, ["arms.a.out: ", "the study sets it"]),
    "an arm's unknown field": ({"arms": {"a": {"speed": 1}}}, ["arm 'a': speed: ", "group_size"]),
    "an arm's wrong value": ({"arms": {"a": {"lr": -1}}}, ["arm 'a': lr: ", "positive"]),
    "an arm's wrong type": ({"arms": {"a": {"lr": "fast"}}}, ["arm 'a': lr: ", "fast", "float"]),
    "an arm tuned as nobody": ({"arms": {"a": {"tuned_as": "x"}}}, ["arms.a.tuned_as: ", "'x'"]),
    "an arm tuned as one that is not": (
        {"arms": {"a": {"tuned_as": "b"}, "b": {"tuned_as": "c"}, "c": {}}},
        ["arms.a.tuned_as: ", "'b'"],
    ),
    "base that is no table": ({"base": 3}, ["base: ", "table"]),
    "base of a model that is no name": ({"base": {"model": 3}}, ["arm 'narrow': model: ", "folder", "hub id", "3"]),
    "base of models": ({"base": {"model": ["nano"]}}, ["arm 'narrow': model: ", "hub id", "['nano']"]),
    "base of an algorithm that is no name": ({"base": {"algo": 3}}, ["base.algo: ", "a name or a table", "3"]),
    "base of weights that are no table": ({"base": {"reward_weights": 3}}, ["base.reward_weights: ", "table", "3"]),
    "an arm of an empty algorithm": ({"arms": {"b": {"algo": []}}}, ["arms.b.algo: ", "a name or a table", "[]"]),
    "an arm whose algorithm has no name": ({"arms": {"b": {"algo": {"name": 3}}}}, ["arms.b.algo.name: ", "name", "3"]),
    "the same, dotted": ({"arms": {"b": {"algo.name": []}}}, ["arms.b.algo.name: ", "name", "[]"]),
    "an arm of no task": ({"arms": {"b": {"task": 3}}}, ["arms.b.task: ", "a name or a table", "3"]),
    "a scale that is no table": ({"arms": {"b": {"scale": 3}}}, ["arms.b.scale: ", "table", "3"]),
    "a scale of no algorithm": ({"arms": {"b": {"scale": {"algo": 3}}}}, ["arms.b.scale.algo: ", "table", "3"]),
    "a profile of no task": (
        {"base": {"task.test_size": 9}, "profile": {"name": "p", "fields": {"task": 3}}},
        ["profile.task: ", "a name or a table", "3"],
    ),
    "trials of no algorithm": ({"tune": {**TUNE, "base": {"algo": 3}}}, ["tune.base.algo: ", "table", "3"]),
    "a grid of no algorithm": ({"tune": {**TUNE, "grid": {"algo": ["grpo", 3]}}}, ["tune.grid.algo: ", "table", "3"]),
    "no point at the end": ({"base": {"eval_fractions": [0, 0.5]}}, ["arm 'narrow': eval_fractions: ", "1", "0, 0.5"]),
    "no point at all": ({"base": {"eval_fractions": []}}, ["arm 'narrow': eval_fractions: ", "must name 1", "none"]),
    "one arm's points": (
        {"arms": {**ARMS, "b": {"eval_fractions": [0.5]}}},
        ["arm 'b': eval_fractions: ", "must name 1", "0.5"],
    ),
    "trials without a point": (
        {"tune": {**TUNE, "base": {"eval_fractions": []}}},
        ["arm 'narrow': eval_fractions: ", "trial", "above 0"],
    ),
    "trials that are judged by their start": (
        {"tune": {**TUNE, "base": {"eval_fractions": [0]}}},
        ["arm 'narrow': eval_fractions: ", "trial", "above 0"],
    ),
    "an infinite rate": ({"base": {"lr": float("inf")}}, ["arm 'narrow': lr: ", "finite"]),
    "base of unknown field": ({"base": {"speed": 1}}, ["arm 'narrow': speed: ", "group_size"]),
    "base of unknown unit": ({"base": {"budget": "tokens=1"}}, ["arm 'narrow': budget: ", "generated_tokens"]),
    "no seed": ({"seeds": 0}, ["seeds: ", "a count or a list", "0"]),
    "fewer than no seeds": ({"seeds": -1}, ["seeds: ", "-1"]),
    "an empty list of seeds": ({"seeds": []}, ["seeds: ", "[]"]),
    "a word for seeds": ({"seeds": "3"}, ["seeds: ", "'3'"]),
    "true for seeds": ({"seeds": True}, ["seeds: ", "True"]),
    "a part of a seed": ({"seeds": [1.5]}, ["seeds: ", "1.5"]),
    "a negative seed": ({"seeds": [0, -1]}, ["seeds: ", "-1"]),
    "a seed twice": ({"seeds": [1, 2, 1]}, ["seeds: ", "twice"]),
    "an arm's seed twice": ({"arms": {"a": {"seeds": [1, 1]}}}, ["arms.a.seeds: ", "twice"]),
    "an unknown field": ({"speed": 1}, ["speed: ", "valid: name, arms, seeds, base"]),
    "a question that is no text": ({"question": ["why"]}, ["question: ", "str"]),
    "a report that is no table": ({"report": 3}, ["report: ", "table"]),
    "an unknown field of the report": ({"report": {"speed": 1}}, ["report.speed: ", "report.margin"]),
    "a margin below 0": ({"report": {"margin": -1}}, ["report: ", "margin"]),
    "a level of 0": ({"report": {"level": 0}}, ["report: ", "level"]),
    "a level beyond 1": ({"report": {"level": 90}}, ["report: ", "level", "0..1"]),
    "a level that is no number": ({"report": {"level": "high"}}, ["report.level: ", "high", "float"]),
    "a block of unknown arms": (
        {"report": {"blocks": {"x": ["wide", "w"]}}},
        ["report: ", "'w'", "valid: narrow, wide"],
    ),
    "a block that is no list": ({"report": {"blocks": {"x": "wide"}}}, ["report.blocks.x: ", "list"]),
    "a family of unknown arms": ({"report": {"family": [["wide", "w"]]}}, ["report: ", "'w'", "valid: narrow, wide"]),
    "a family of one arm": ({"report": {"family": [["wide"]]}}, ["report.family: ", "pairs"]),
    "a family that is no list": ({"report": {"family": ["wide", "narrow"]}}, ["report.family: ", "list"]),
    "tune that is no table": ({"tune": 3}, ["tune: ", "table"]),
    "tune without a grid": ({"tune": {"seeds": [100, 101]}}, ["tune.grid: ", "missing"]),
    "widening by less than nothing": ({"tune": {**TUNE, "widen": -1}}, ["tune.widen: ", "-1"]),
    "own fields of no arm": ({"tune": {**TUNE, "own": {"w": {"lr": [1]}}}}, ["tune.own: ", "'w'", "narrow, wide"]),
    "own fields without values": ({"tune": {**TUNE, "own": {"wide": {"warmup": []}}}}, ["tune.own.wide: ", "list"]),
    "own fields of all": ({"tune": {**TUNE, "own": {"wide": {"lr": [1, 2]}}}}, ["tune.own.wide: ", "none of the grid"]),
    "nothing to widen": (
        {"tune": {"grid": {"decay": ["linear", "constant"]}, "widen": 1}},
        ["tune: ", "'narrow' has 2 trials", "several numbers"],
    ),
    "bounds of no field": ({"tune": {**TUNE, "bounds": {"warmup": [0, 1]}}}, ["tune.bounds.warmup: ", "[least, most]"]),
    "bounds the wrong way": ({"tune": {**TUNE, "bounds": {"lr": [1, 0]}}}, ["tune.bounds.lr: ", "[least, most]"]),
    "an empty grid": ({"tune": {**TUNE, "grid": {}}}, ["tune.grid: ", "list of values"]),
    "a grid without a value": ({"tune": {**TUNE, "grid": {"lr": []}}}, ["tune.grid: ", "list of values"]),
    "a grid of one value": ({"tune": {**TUNE, "grid": {"lr": 1e-4}}}, ["tune.grid.lr: ", "list"]),
    "a grid of an unknown field": ({"tune": {**TUNE, "grid": {"speed": [1]}}}, ["arm 'narrow': speed: ", "group_size"]),
    "a grid of a wrong value": ({"tune": {**TUNE, "grid": {"lr": [1e-4, -1]}}}, ["arm 'narrow': lr: ", "positive"]),
    "one tuning seed": ({"tune": {**TUNE, "seeds": [100]}}, ["tune.seeds: ", "at least two"]),
    "a tuning seed of a run": ({"tune": {**TUNE, "seeds": [1, 100]}}, ["tune.seeds: ", "[1]", "seeds of the runs"]),
    "a tuning seed of an arm": (
        {"arms": {"a": {"seeds": [100, 7]}}, "tune": TUNE},
        ["tune.seeds: ", "[100]", "seeds of the runs"],
    ),
    "no trial": ({"tune": {**TUNE, "trials": 0}}, ["tune.trials: ", "at least 1"]),
    "an unknown field of tune": ({"tune": {**TUNE, "speed": 1}}, ["tune.speed: ", "tune.grid"]),
    "a wrong budget of the trials": (
        {"tune": {**TUNE, "base": {"budget": "much"}}},
        ["arm 'narrow': budget: ", "much"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_is_named_with_what_is_valid(what: str) -> None:
    fields, fragments = BAD[what]
    message = refused(lambda: make_study(**fields))
    assert message.startswith(fragments[0]) and [f for f in fragments if f not in message] == []


@pytest.mark.parametrize("missing", ["arms", "seeds"])
def test_what_a_study_must_say(missing: str) -> None:
    table = {k: v for k, v in {"arms": {"a": {}}, "seeds": 2}.items() if k != missing}
    assert refused(lambda: parse("s", table)) == f"{missing}: missing"


@pytest.mark.parametrize("field", ["seed", "name", "out"])
@pytest.mark.parametrize("where", ["base", "tune.base", "tune.grid"])
def test_what_the_study_sets_itself(field: str, where: str) -> None:
    """Nobody else does, for a command would say it after the study's own word."""
    tables: dict[str, Any] = {
        "base": {"base": {field: 7}},
        "tune.base": {"tune": {**TUNE, "base": {field: 7}}},
        "tune.grid": {"tune": {**TUNE, "grid": {field: [7, 8]}}},
    }
    assert refused(lambda: make_study(**tables[where])) == f"{where}.{field}: the study sets it"


def test_a_study_nobody_knows() -> None:
    message = refused(lambda: load("speed"))
    assert message.startswith("study: unknown study 'speed'; valid: ") and all(name in message for name in names())
    assert message.endswith("or a FILE.toml, FILE.yaml")


@pytest.mark.parametrize(
    "text", ["seeds = \n", "seeds = 2\n", "seeds = 2\narms.a.lr = -1\n", "seeds = 0\narms.a.lr = 1\n"]
)
def test_an_error_names_the_file_once(text: str, tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    assert str(file) in refused(lambda: load(str(file)))
    file.write_text(text)
    message = refused(lambda: load(str(file)))
    assert message.count(str(file)) == 1


@pytest.mark.parametrize("text", ["algo = []", "algo.name = 3", "task = 3", 'reward = ["mine.py:f"]', "model = 3"])
def test_a_wrong_type_in_a_file_names_the_file(text: str, tmp_path: Path) -> None:
    """Where names of files are looked for beside it."""
    file = tmp_path / "s.toml"
    file.write_text(f"seeds = 1\n[arms.b]\n{text}\n")
    message = refused(lambda: load(str(file)))
    assert message.startswith(f"{file}: ") and text.split(" =")[0].split(".")[0] in message


# ---------------------------------------------------------------- trials


def test_points_of_a_grid() -> None:
    points = Tune(grid=GRID, seeds=[100, 101]).points()
    assert points == [{"lr": lr, "algo.clip_low": c} for lr, c in itertools.product(*GRID.values())]
    assert [label(p) for p in points[:2]] == ["lr0.0001-clip_low0.1", "lr0.0001-clip_low0.2"]
    assert len({label(p) for p in points}) == 6


@pytest.mark.parametrize("trials", [1, 4, 6, 99])
def test_drawn_trials_are_different_points_the_same_for_each_arm(trials: int) -> None:
    tune = Tune(grid=GRID, seeds=[100, 101], trials=trials)
    points, whole = tune.points(), dataclasses.replace(tune, trials=None).points()
    assert len({label(p) for p in points}) == len(points) == min(trials, 6) and all(p in whole for p in points)
    random.seed(trials)
    assert tune.points() == points, "another draw at another time"
    drawn = make_study(tune={**TUNE, "trials": trials}).trials()
    folders = {arm: [Path(c.folder).name for c in drawn if c.arm == arm] for arm in ARMS}
    assert folders["narrow"] == folders["wide"] == [label(p) for p in points for _ in (100, 101)]


def test_the_draw_is_from_the_whole_grid_and_stays() -> None:
    """A study that is read again next year must look for the same trials."""
    points = Tune(grid={"warmup": list(range(10))}, seeds=[100, 101], trials=3).points()
    assert points == [{"warmup": 6}, {"warmup": 9}, {"warmup": 0}]


def test_a_star_moves_one_field_at_a_time() -> None:
    points = Tune(grid={"lr": [1, 2, 4], "warmup": [0, 5, 9]}, design="star").points()
    assert [tuple(p.values()) for p in points] == [(1, 5), (2, 0), (2, 5), (2, 9), (4, 5)]


def test_three_tuning_seeds_that_no_run_has_unless_others_are_named() -> None:
    study = make_study(tune={"grid": {"lr": [1e-4, 2e-4]}})
    assert study.tune is not None and study.tune.seeds == [10_000, 10_001, 10_002]
    assert len(study.trials()) == 2 * 3 * len(ARMS)


def test_trials_lie_apart_and_see_the_selection_split() -> None:
    study = make_study(
        base={"budget": "completions=64", "eval_fractions": [0, 0.5, 1], "lr": 0.5},
        tune={**TUNE, "grid": {"lr": [0.1, 0.2]}, "base": {"budget": "completions=32"}},
    )
    assert [(c.arm, c.path) for c in study.trials()[:3]] == [
        ("narrow", "s/tune/narrow/lr0.1/seed100"),
        ("narrow", "s/tune/narrow/lr0.1/seed101"),
        ("narrow", "s/tune/narrow/lr0.2/seed100"),
    ]
    fields = [values(c, "seed", "lr", "budget", "eval_split", "eval_fractions") for c in study.trials()[1:3]]
    assert fields == [
        [101, 0.1, "completions=32", "selection", (1.0,)],
        [100, 0.2, "completions=32", "selection", (1.0,)],
    ]
    assert values(study.runs()[0], "lr", "budget", "eval_split") == [0.5, "completions=64", "test"]
    assert {c.config("out").algo.get("clip_high") for c in study.trials()} == {None, 0.4}, "an arm without its fields"


def test_trials_may_lie_in_another_study() -> None:
    stored = make_study(tune={**TUNE, "store": "other"})
    assert stored.trials()[0].path == "other/tune/narrow/lr0.0001-clip_low0.1/seed100"
    assert stored.runs()[0].path == "s/narrow/seed0"


# ---------------------------------------------------------------- runs


def test_runs_come_seed_by_seed() -> None:
    """What an interruption leaves is as paired as can be."""
    runs = make_study(arms={**ARMS, "few": {"seeds": [1]}}, seeds=[2, 0, 1]).runs()
    assert [(c.seed, c.arm) for c in runs] == [
        (0, "narrow"), (0, "wide"),
        (1, "narrow"), (1, "wide"), (1, "few"),
        (2, "narrow"), (2, "wide"),
    ]  # fmt: skip
    assert [c.path for c in runs[:2]] == ["s/narrow/seed0", "s/wide/seed0"]


def test_chosen_fields_go_into_an_arms_runs() -> None:
    runs = make_study(base={"lr": 0.5}).runs({"wide": {"lr": 0.1, "algo.clip_low": 0.3}})
    assert values(runs[0], "lr", "algo") == [0.5, {}]
    assert values(runs[1], "lr", "algo") == [0.1, {"clip_high": 0.4, "clip_low": 0.3}]


def test_a_run_knows_its_folder() -> None:
    assert values(make_study().runs()[3], "seed", "name", "out") == [1, "seed1", "out/s/wide"]


# ---------------------------------------------------------------- commands


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Type:
    return typist(monkeypatch)


def same(typed: RunConfig, asked: RunConfig) -> None:
    assert (typed.seed, typed.name, typed.out) == (asked.seed, asked.name, asked.out)
    assert config_differences(resolve_experiment(typed).as_dict(), resolve_experiment(asked).as_dict()) == []


@pytest.mark.parametrize("name", names())
def test_commands_of_shipped_studies_can_be_typed(name: str, typed: Type) -> None:
    study = load(name)
    chosen = {arm: study.tune.points()[-1] for arm in study.arms} if study.tune else {}
    for run in (*study.trials(), *study.runs(chosen)):
        same(typed(run.command("some/where")), run.config("some/where"))


ODD: dict[str, dict[str, Any]] = {
    "lists": {"eval_fractions": [0, 0.25, 1], "eval_tasks": ["piqa", "arc_easy"]},
    "an empty list": {"eval_tasks": []},
    "truth": {"algo": {"name": "grpo", "kl_importance": True}},
    "nothing": {"eval_limit": None, "algo": {"name": "grpo", "clip_dual": None}},
    "small numbers": {"lr": 1.1e-7, "algo.kl_coef": 1 / 3},
    "flags": {"group_size": 4, "model": "gpt2", "reward": "rule", "budget": "flops=1e15", "temperature": 0.7},
    "words": {"decay": "linear", "dtype": "float64", "device": "cpu"},
    "files": {
        "task": {
            "name": "qa",
            "train_file": "a b.jsonl",
            "test_file": "t.jsonl",
            "eval_files": {"x": "x.jsonl", "y": "y"},
        }
    },
    "a text with an equals sign": {"task": {"name": "qa", "question": "{q}=?", "instruction": "Say: {question} = "}},
    "numbers of the task": {"task": {"test_size": 11}},
    "only a name": {"algo": "ppo", "task": "gsm8k"},
    "lists of the task": {"task": {"numbers": [5, 6], "least": 2}},
    "weights of terms": {"reward_weights": {"format": 0.2, "accuracy": 1}},
    "fields of a reward model": {"reward": "outcome-model", "reward_model": {"name": "some/where", "epochs": 2}},
    "wrong labels": {"reward_noise": 0.05},
}


@pytest.mark.parametrize("what", ODD)
def test_commands_of_odd_fields_can_be_typed(what: str, typed: Type) -> None:
    for run in make_study(arms={"a": {}}, base=ODD[what], seeds=[3]).runs():
        same(typed(run.command("with space/there")), run.config("with space/there"))


# ---------------------------------------------------------------- studies from the command line


def comparison(**asked: Any) -> Study:
    flags = {"algos": "grpo,ppo", "seeds": "2", "flags": {}, "settings": [], "config": None, "name": None}
    return study_from_flags(**{**flags, **asked})


def test_a_comparison() -> None:
    study = comparison(flags={"budget": "completions=64", "lr": None, "task_name": "gsm8k"})
    assert study == Study(
        name="compare-grpo-ppo",
        arms={"grpo": {"algo": {"name": "grpo"}}, "ppo": {"algo": {"name": "ppo"}}},
        seeds=[0, 1],
        base={"eval_fractions": FRACTIONS, "budget": "completions=64", "task": {"name": "gsm8k"}},
    )
    assert comparison(name="x", seeds="4,2", algos=" grpo , dir/mine.py ").arms["mine"] == {
        "algo": {"name": "dir/mine.py"}
    }
    assert comparison(name="x", seeds="4,2").seeds == [4, 2]


def test_settings_of_all_arms_and_of_one(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("lr = 0.1\nprompts = 3\neval_fractions = [1]\nalgo.kl_coef = 0.5\n")
    settings = ["lr=0.2", "ppo.critic=shared", "algo.epochs=2", "task.test_size=4"]
    runs = comparison(config=str(tmp_path / "c.toml"), flags={"prompts": 5}, settings=settings).runs()
    grpo, ppo = (run.config("out") for run in runs[:2])
    assert (grpo.lr, grpo.prompts, grpo.eval_fractions, grpo.task) == (0.2, 5, (1.0,), {"test_size": "4"})
    assert grpo.algo == {"kl_coef": 0.5, "epochs": "2"}
    assert ppo.algo == {**grpo.algo, "critic": "shared"} and (ppo.lr, ppo.task) == (grpo.lr, grpo.task)


def test_an_algorithm_in_a_configuration_is_no_arm(tmp_path: Path, typed: Type) -> None:
    for text in ('algo = "rft"\n', 'algo_name = "rft"\n', '[algo]\nname = "rft"\n'):
        (tmp_path / "c.toml").write_text(text)
        runs = comparison(config=str(tmp_path / "c.toml")).runs()
        assert [run.config("out").algo_name for run in runs[:2]] == ["grpo", "ppo"]
        same(typed(runs[1].command("out")), runs[1].config("out"))


BAD_WORDS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no algorithm": ({"algos": " , "}, ["arms: ", "at least one"]),
    "an algorithm twice": ({"algos": "grpo,ppo,grpo"}, ["algos: ", "grpo,ppo,grpo", "twice"]),
    "two files of one name": ({"algos": "a/x.py,b/x.py"}, ["algos: ", "twice"]),
    "no seed": ({"seeds": ""}, ["seeds: ", "0,1,7"]),
    "seeds of 0": ({"seeds": "0"}, ["seeds: ", "0"]),
    "words for seeds": ({"seeds": "1,two"}, ["seeds: ", "1,two", "0,1,7"]),
    "a seed twice": ({"seeds": "1,1"}, ["seeds: ", "twice"]),
    "a negative seed": ({"seeds": "0,-1"}, ["seeds: ", "-1"]),
    "a setting without a value": ({"settings": ["lr"]}, ["--set: ", "'lr'", "field=value"]),
    "a setting of no arm": ({"settings": ["rft.max_per_prompt=1"]}, ["arm 'grpo': rft: ", "unknown field"]),
    "a wrong value": ({"flags": {"group_size": 0}}, ["arm 'grpo': group_size: ", "at least 1"]),
    "no such file": ({"config": "none.toml"}, ["config: ", "none.toml"]),
    "a seed as a setting": ({"settings": ["seed=3"]}, ["base.seed: ", "the study sets it"]),
    "no point at the end": ({"settings": ["eval_fractions=0,0.5"]}, ["arm 'grpo': eval_fractions: ", "1", "0, 0.5"]),
    "no point": ({"settings": ["eval_fractions="]}, ["arm 'grpo': eval_fractions: ", "must name 1", "none"]),
    "weights that are no table": ({"settings": ["reward_weights=3"]}, ["base.reward_weights: ", "table", "3"]),
    "a name as a setting": ({"settings": ["name=x"]}, ["base.name: ", "the study sets it"]),
}


@pytest.mark.parametrize("what", BAD_WORDS)
def test_what_is_wrong_in_the_words(what: str) -> None:
    asked, fragments = BAD_WORDS[what]
    message = refused(lambda: comparison(**asked))
    assert message.startswith(fragments[0]) and [f for f in fragments if f not in message] == []


@pytest.mark.parametrize("text", ["algo = 3", "algo = []", "task = 3", "model = 3", 'model = ["nano"]'])
def test_a_wrong_type_in_a_configuration_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(text)
    message = refused(lambda: comparison(config=str(tmp_path / "c.toml")))
    assert f"{text.split(' =')[0]}: must be " in message and text.split("= ")[1].replace('"', "'") in message


def test_a_study_with_other_seeds_and_fields() -> None:
    first = make_study(base={"lr": 0.1, "budget": "completions=64", "algo.kl_coef": 0.5}, seeds=3, question="why")
    study = override_study(first, "4,2", ["budget=completions=32", "algo.epochs=2"], "other")
    assert (study.name, study.seeds, study.question, study.arms) == ("other", [4, 2], "why", first.arms)
    assert study.base == {"lr": 0.1, "budget": "completions=32", "algo": {"kl_coef": 0.5, "epochs": "2"}}
    assert override_study(first, None, [], None) == first and override_study(first, "1", [], None).seeds == [0]
    assert first.base["budget"] == "completions=64", "the study itself was changed"


BAD_CHANGES = [
    ("two", [], "seeds: "),
    ("0", [], "seeds: "),
    ("-3", [], "seeds: "),
    ("1,1", [], "seeds: "),
    ("-1,2", [], "seeds: "),
    ("100", [], "tune.seeds: "),
    (None, ["lr"], "--set: "),
    (None, ["lr=-1"], "arm 'narrow': lr: "),
    (None, ["speed=1"], "arm 'narrow': speed: "),
    (None, ["seed=1"], "base.seed: "),
]


@pytest.mark.parametrize(("seeds", "settings", "start"), BAD_CHANGES)
def test_what_is_wrong_in_a_change(seeds: str | None, settings: list[str], start: str) -> None:
    seeds = "99,100" if seeds == "100" else seeds
    assert refused(lambda: override_study(make_study(tune=TUNE), seeds, settings, None)).startswith(start)
