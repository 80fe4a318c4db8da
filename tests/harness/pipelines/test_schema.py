"""A pipeline's file: what it means, and what is wrong with one, in one line with file, stage and field."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from harness.pipelines import loading
from harness.pipelines.schema import Pipeline
from harness.pipelines.stage_run import check_stages, planned_config, stage_run

TABLE: dict[str, Any] = {
    "budget": "flops=1e11",
    "base": {"model": "nano"},
    "stages": [
        {"name": "first", "kind": "sft", "share": 0.25},
        {"name": "draw", "kind": "rejection_sample", "model": "stage:first", "share": 0.25},
        {"name": "again", "kind": "sft", "data": "stage:draw", "share": 0.25},
        {"name": "last", "kind": "rl", "model": "stage:again", "share": 0.25},
    ],
    "controls": {"alone": {"kind": "rl"}},
}


def parsed(change: dict[str, Any] | None = None, **stages: dict[str, Any]) -> Pipeline:
    table = {**copy.deepcopy(TABLE), **(change or {})}
    for stage in table["stages"] if stages else []:
        stage.update(stages.get(stage["name"], {}))
    return loading.parse("p", table)


def test_a_stage_is_a_run_under_its_seed_with_its_share() -> None:
    pipeline = parsed()
    run = stage_run(pipeline, pipeline.stage("last"), 3, "out")
    assert run.path == "p/seed3/last"
    assert run.fields["budget"] == "flops=25000000000"
    assert run.fields["model"] == "out/p/seed3/again/checkpoints/final"
    assert stage_run(pipeline, pipeline.stage("again"), 3, "out").fields["data"] == "out/p/seed3/draw/accepted.jsonl"
    assert stage_run(pipeline, pipeline.stage("alone"), 3, "out").fields["budget"] == "flops=1e11"
    command = run.command("out")
    assert command[:8] == ["harness", "run", "--seed", "3", "--name", "last", "--out", "out/p/seed3"]
    config = planned_config(pipeline, pipeline.stage("last"))
    assert (config.model, config.max_new_tokens, config.eval_fractions) == ("nano", 56, (1.0,))
    assert planned_config(pipeline, pipeline.stage("first")).eval_fractions == (0.0, 1.0)
    assert planned_config(pipeline, pipeline.stage("draw")).eval_fractions == ()
    check_stages(pipeline)


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("draw", {"model": "stage:nobody"}, "stage 'draw': model: no stage 'nobody'; earlier ones: first"),
    ("first", {"model": "stage:draw"}, "stage 'first': model: a cycle: first -> draw -> first"),
    ("first", {"model": "stage:first"}, "stage 'first': model: a cycle: first -> first"),
    ("draw", {"model": "stage:last"}, "stage 'draw': model: a cycle: draw -> last -> again -> draw"),
    (
        "again",
        {"data": "stage:first"},
        "stage 'again': data: stage 'first' is of kind sft, which writes no completions",
    ),
    ("again", {"data": "stage:last"}, "stage 'again': data: a cycle: again -> last -> again"),
    ("last", {"data": "stage:draw"}, "stage 'last': data: a stage of kind rl samples its completions"),
    ("last", {"kind": "dpo"}, "stage 'last': kind: unknown kind 'dpo'; valid: sft, rl, rejection_sample"),
    ("last", {"name": "first"}, "stages: two are called 'first'"),
    ("last", {"name": "start"}, "stages: 'start' is no stage's name"),
    ("last", {"name": "../x"}, "stages: '../x' is no stage's name"),
    ("last", {"share": 1.5}, "stage 'last': share: must lie above 0 and not above 1, not 1.5"),
    ("last", {"share": 0}, "stage 'last': share: must lie above 0 and not above 1, not 0"),
    ("last", {"share": 0.5}, "stages: share: 0.25 + 0.25 + 0.25 + 0.5 = 1.25, which is over 1"),
    ("last", {"updates": 5}, "stage 'last': updates: it has a share of the budget already"),
    ("last", {"budget": "flops=1"}, "stage 'last': budget: the pipeline sets it, by `share`"),
    ("last", {"seed": 1}, "stage 'last': seed: the pipeline sets it"),
    ("last", {"algo": 3}, "stage 'last': algo: must be a name or a table of fields, not 3"),
    ("last", {"share": "half"}, "stages.3.share: 'half' is not a float"),
]


@pytest.mark.parametrize(("stage", "fields", "says"), BAD)
def test_what_is_wrong_with_a_stage(stage: str, fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError) as error:
        parsed(**{stage: fields})
    assert str(error.value).startswith(says) and "\n" not in str(error.value)


WHOLE: list[tuple[dict[str, Any], str]] = [
    ({"stages": []}, "stages: a pipeline needs at least one"),
    ({"stages": {"a": 1}}, "stages: must be tables, each under [[stages]]"),
    ({"budget": "watts=3"}, "budget: 'watts=3' is not UNIT=LIMIT"),
    ({"budget": ""}, "controls: a control spends the whole budget, and none is given"),
    ({"colour": 1}, "colour: unknown field; valid: name, stages, seeds"),
    ({"base": {"algo": "grpo"}}, "base: algo: stages differ in it"),
    ({"base": {"model": "stage:first"}}, "base: model: a stage's model is named by a stage"),
    ({"controls": {"alone": {"kind": "rl", "share": 0.5}}}, "control 'alone': share: a control is one stage"),
    ({"controls": {"alone": {"kind": "rl", "model": "stage:first"}}}, "control 'alone': model: a control is one"),
    ({"controls": {"first": {"kind": "rl"}}}, "stages: two are called 'first'"),
    ({"seeds": [1, 1]}, "seeds: [1, 1] has a seed twice"),
]


@pytest.mark.parametrize(("change", "says"), WHOLE)
def test_what_is_wrong_with_the_whole(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError) as error:
        parsed(change)
    assert str(error.value).startswith(says) and "\n" not in str(error.value)


RUNS = [
    ("first", {"algo": {"name": "grpo"}}, "stage 'first': algo.name: grpo is of kind rl, and the stage of sft"),
    ("draw", {"algo": {"epochs": 2}}, "stage 'draw': algo.name: rft is of kind none (it trains, too)"),
    ("last", {"algo": {"klcoef": 1}}, "stage 'last': algo.klcoef: unknown field"),
    ("last", {"eval_fractions": [0.5]}, "stage 'last': eval_fractions: must name 1"),
    ("last", {"lr": -1}, "stage 'last': lr: must be positive"),
]


@pytest.mark.parametrize(("stage", "fields", "says"), RUNS)
def test_what_is_wrong_with_a_stages_run(stage: str, fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError) as error:
        check_stages(parsed(**{stage: fields}))
    assert str(error.value).startswith(says)


def test_a_budget_in_what_a_stage_does_not_spend() -> None:
    with pytest.raises(ValueError, match="stage 'first': budget: written solutions"):
        check_stages(parsed({"budget": "generated_tokens=1000"}))


def test_errors_name_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('seeds = 1\n[[stages]]\nname = "a"\nkind = "sleep"\n')
    with pytest.raises(ValueError, match=r"mine\.toml: stage 'a': kind: unknown kind 'sleep'"):
        loading.load(str(file))
    with pytest.raises(ValueError, match="unknown pipeline 'nope'; valid: deepseekmath_paper, r1_nano, r1_paper"):
        loading.load("nope")


def test_a_command_line_changes_all_stages_or_one() -> None:
    words = ["lr=0.5", "last.lr=0.25", "last.share=0.1", "algo.kl_coef=0", "draw.algo.max_per_prompt=3"]
    with pytest.raises(ValueError, match="base: algo: stages differ in it"):
        loading.override(parsed(), None, words, None, None)
    new = loading.override(parsed(), "2,5", [w for w in words if not w.startswith("algo")], "flops=2e11", "other")
    assert (new.name, new.seeds, new.budget) == ("other", [2, 5], "flops=2e11")
    assert [planned_config(new, stage).lr for stage in new.stages] == [0.5, 0.5, 0.5, 0.25]
    assert new.stage("last").share == 0.1 and new.stage("draw").fields["algo"] == {"max_per_prompt": "3"}
    with pytest.raises(ValueError, match="'nobody.lr' is neither a field nor one of a stage"):
        loading.override(parsed(), None, ["nobody.lr=1"], None, None)


@pytest.mark.parametrize("name", loading.names())
def test_what_ships_is_whole(name: str) -> None:
    pipeline = loading.load(name)
    check_stages(pipeline)
    assert pipeline.question and pipeline.source
    if name.endswith("_paper"):  # nothing is invented where a paper does not say
        assert not pipeline.budget and all(stage.share is None for stage in pipeline.stages)
        with pytest.raises(ValueError, match="share: none is stated"):
            [stage_run(pipeline, stage, 0, "out") for stage in pipeline.stages]
