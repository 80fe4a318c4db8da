"""Whole pipelines of a small model: what a stage hands to the next, `kill -9` anywhere, and the report."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.api import pipelines as api
from harness.config.errors import RunFailed
from harness.pipelines import launcher, loading, storage
from harness.pipelines.results import load
from harness.pipelines.schema import Pipeline
from harness.records.checksums import file_sha256
from harness.records.runs import read_record, read_rounds, run_folders
from harness.training import run as training_run
from harness.training.trainer import Trainer
from tests.harness.tiny_models import SIZES
from tests.helpers import ROOT, close

TIMED = ("step_time", "perf/", "mem/", "spend/device_seconds")
STAGES = """
seeds = 1
budget = "completions=112"
[base]
model = "{model}"
task = {{ name = "arithmetic", {sizes} }}
eval_limit = 4
checkpoint_every = 1
max_new_tokens = 56
[[stages]]
name = "cold"
kind = "sft"
share = 0.1
[[stages]]
name = "rl"
kind = "rl"
model = "stage:cold"
share = 0.45
[[stages]]
name = "draw"
kind = "rejection_sample"
model = "stage:rl"
share = 0.3
algo.distinct = false
[[stages]]
name = "refit"
kind = "sft"
data = "stage:draw"
share = 0.15
[controls.alone]
kind = "sft"
"""


@pytest.fixture(scope="module")
def pipeline(taught: Path, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    file = tmp_path_factory.mktemp("files") / "small.toml"
    sizes = ", ".join(f"{name} = {size}" for name, size in SIZES.items())
    file.write_text(STAGES.format(model=taught, sizes=sizes))
    return loading.load(str(file))


@pytest.fixture(scope="module")
def whole(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run in one go, left in folders."""
    out = tmp_path_factory.mktemp("whole")
    assert launcher.launch(pipeline, str(out), 1, False, lambda _: None, api.run_stage) == []
    return out / "small"


def bits(folder: Path) -> dict[str, Any]:
    """What a seed decides of every run below: weights, accepted completions, metrics without times, scores."""
    found: dict[str, Any] = {}
    for run in run_folders(folder):
        place = str(run.relative_to(folder))
        files = [*sorted((run / "checkpoints/final").glob("*.safetensors")), run / "accepted.jsonl"]
        found |= {f"{place}/{f.name}": file_sha256(f) for f in files if f.exists()}
        rounds = read_rounds(run) or []
        found[f"{place} rounds"] = [{k: v for k, v in r.items() if not k.startswith(TIMED)} for r in rounds]
        record = read_record(run)
        assert record is not None and record["status"] == "finished"
        found[f"{place} scores"] = [(r["fraction"], r["task"], r["metric"], r["value"]) for r in record["evals"]]
        found[f"{place} spend"] = {unit: x for unit, x in record["spend"].items() if unit != "device_seconds"}
    return found


def test_what_a_stage_makes_is_what_the_next_begins_with(whole: Path, pipeline: Pipeline) -> None:
    seed = whole / "seed0"
    records = {stage.name: read_record(seed / stage.name) for stage in pipeline.all}
    assert all(r is not None and r["status"] == "finished" for r in records.values())
    assert {stage.name: records[stage.name]["algo"] for stage in pipeline.all} == {
        "cold": "sft", "rl": "grpo", "draw": "rft", "refit": "sft", "alone": "sft",
    }  # fmt: skip
    final = {name: seed / name / "checkpoints/final" for name in records}
    assert records["rl"]["config"]["model"] == str(final["cold"])
    accepted = [json.loads(line) for line in (seed / "draw/accepted.jsonl").read_text().splitlines()]
    split = records["draw"]["split"]
    assert 0 < len(accepted) == split["kept_completions"] < records["draw"]["spend"]["completions"]
    assert split["passes"] == 0 and records["draw"]["spend"]["updates"] == 0
    weights = {name: file_sha256(folder / "model.safetensors") for name, folder in final.items()}
    assert weights["draw"] == weights["rl"], "sampling alone trains nothing"
    assert len(set(weights.values())) == 4
    assert records["refit"]["config"]["data"] == str(seed / "draw/accepted.jsonl")
    assert records["refit"]["config"]["model"] == pipeline.base["model"]
    refit = read_rounds(seed / "refit") or []
    assert all(r["accuracy/strict"] == 1 for r in refit), "what it learns was accepted by the same verifier"
    spent = sum(records[stage.name]["spend"]["completions"] for stage in pipeline.stages)
    assert 0.9 * 112 < spent <= 112


def test_what_has_finished_is_not_run_again(whole: Path, pipeline: Pipeline) -> None:
    said: list[str] = []

    def never(_: Any) -> None:
        raise AssertionError("a finished run was started")

    assert launcher.launch(pipeline, str(whole.parent), 1, False, said.append, never) == []
    assert said == ["small: 1 of 1 seeds finished, 0 to do"]
    assert [launcher.left_of(pipeline, 1, str(whole.parent), False).stages] == [pipeline.all]


# --- kill -9 -----------------------------------------------------------------------------------------------------


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_round(number: int, call: int) -> Callable[[], None]:
    """Dies when the `call`-th round with this number, over all stages, is about to be written down."""

    def prepare() -> None:
        finish, seen = Trainer.finish_round, [0]

        def finish_or_die(self: Trainer, *given: Any) -> Any:
            seen[0] += self.rounds + 1 == number
            return die() if self.rounds + 1 == number and seen[0] == call else finish(self, *given)

        Trainer.finish_round = finish_or_die  # type: ignore[method-assign]

    return prepare


def after(stages: int) -> Callable[[], None]:
    """Dies between two stages, when so many have ended."""

    def prepare() -> None:
        told, seen = launcher._told, [0]

        def tell_or_die(folder: Path) -> str:
            seen[0] += 1
            return str(die()) if seen[0] == stages else told(folder)

        launcher._told = tell_or_die

    return prepare


def in_export() -> None:
    """Dies when accepted.jsonl is half written, and the record says running."""

    def half(loop: Any, folder: Path) -> None:
        (folder / "accepted.jsonl").write_text('{"prompt": "1')
        die()

    training_run.write_accepted = half  # type: ignore[assignment]


MOMENTS = {"within rl": in_round(2, 2), "between two": after(3), "while accepted.jsonl is written": in_export}


def killed(pipeline: Pipeline, out: Path, prepare: Callable[[], None]) -> None:
    """A child of this process runs it and is killed by the real signal at an exact moment."""
    child = os.fork()
    if child == 0:
        try:
            prepare()
            launcher.launch(pipeline, str(out), 1, False, lambda _: None, api.run_stage)
        finally:
            os._exit(3)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def test_after_kill_9_the_same_command_goes_on_and_ends_with_the_same_bits(
    pipeline: Pipeline, whole: Path, tmp_path: Path
) -> None:
    """Within a stage, then between that stage and the next, then while the next one's completions are written."""
    for prepare in (in_round(2, 2), after(1), in_export):
        killed(pipeline, tmp_path, prepare)
    left = launcher.left_of(pipeline, 0, str(tmp_path), False)
    assert [stage.name for stage in left.stages] == ["draw", "refit", "alone"]
    assert launcher.launch(pipeline, str(tmp_path), 1, False, lambda _: None, api.run_stage) == []
    assert bits(tmp_path / "small") == bits(whole)


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_after_one_kill_9_too(moment: str, pipeline: Pipeline, whole: Path, tmp_path: Path) -> None:
    killed(pipeline, tmp_path, MOMENTS[moment])
    assert 0 < len(launcher.left_of(pipeline, 0, str(tmp_path), False).stages) < len(pipeline.all)
    assert launcher.launch(pipeline, str(tmp_path), 1, False, lambda _: None, api.run_stage) == []
    assert bits(tmp_path / "small") == bits(whole)


@pytest.mark.slow
def test_kill_9_at_any_moment_of_the_command(pipeline: Pipeline, whole: Path, tmp_path: Path) -> None:
    """A process of its own, killed again and again at moments that differ from one day to the next."""
    storage.store(tmp_path / "file", pipeline)
    file = str(tmp_path / "file" / storage.FILE)
    words = [sys.executable, "-m", "harness.cli", "pipeline", file, "--out", str(tmp_path), "--quiet"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    began = time.monotonic()
    subprocess.run([*words, "--name", "small"], env=environment, cwd=tmp_path, check=True)
    lasted, moments = time.monotonic() - began, 0
    words[5:5] = ["--name", "cut"]
    for _ in range(6):
        process = subprocess.Popen(words, env=environment, cwd=tmp_path)
        time.sleep(random.uniform(0.3, 0.9) * lasted)
        process.send_signal(signal.SIGKILL)
        moments += process.wait() == -signal.SIGKILL
    assert moments > 1
    subprocess.run(words, env=environment, cwd=tmp_path, check=True)
    one, other = bits(tmp_path / "small"), bits(tmp_path / "cut")
    assert one == other


# --- what goes wrong ---------------------------------------------------------------------------------------------


def test_a_stage_that_fails_ends_its_chain_and_controls_are_run(
    pipeline: Pipeline, whole: Path, tmp_path: Path
) -> None:
    def fails(config: Any) -> None:
        if config.name == "rl":
            raise RunFailed("broken")
        shutil.copytree(whole / "seed0" / config.name, Path(config.out, config.name), dirs_exist_ok=True)

    said: list[str] = []
    failures = launcher.launch(pipeline, str(tmp_path), 1, False, said.append, fails)
    assert failures == ["small/seed0/rl: broken"]
    assert [line.partition(":")[0] for line in said[1:]] == [f"small/seed0/{name}" for name in ("cold", "rl", "alone")]
    left = launcher.left_of(pipeline, 0, str(tmp_path), False)
    assert [stage.name for stage in left.stages] == ["rl", "draw", "refit"]


def test_a_run_that_ends_without_a_word_is_not_tried_for_ever(pipeline: Pipeline, tmp_path: Path) -> None:
    failures = launcher.launch(pipeline, str(tmp_path), 1, False, lambda _: None, lambda _: None)
    assert failures == [f"small/seed0/{name}: its record says nothing" for name in ("cold", "alone")]


def test_a_stage_that_needs_what_is_gone(pipeline: Pipeline, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "small"
    storage.store(out, pipeline)
    (out / "seed0").mkdir()
    for name in ("cold", "rl", "draw"):
        (out / "seed0" / name).symlink_to(whole / "seed0" / name)
    (out / "seed0/draw").unlink()
    (out / "seed0/draw").mkdir()
    (out / "seed0/draw/record.json").write_text((whole / "seed0/draw/record.json").read_text())

    def run() -> str:
        with pytest.raises(ValueError) as error:
            launcher.launch(pipeline, str(tmp_path), 1, False, lambda _: None, api.run_stage)
        return str(error.value)

    assert "stage 'refit': data: " in run() and "stage 'draw' has left no such thing" in run()
    (out / "seed0/draw/accepted.jsonl").write_text("")
    assert "stage 'refit': data: stage 'draw' accepted none of its completions" in run()


def test_a_pipeline_is_not_changed_after_its_first_run(pipeline: Pipeline, tmp_path: Path) -> None:
    storage.store(tmp_path / "small", pipeline)
    changed = loading.override(pipeline, None, ["rl.lr=0.5"], None, None)
    with pytest.raises(ValueError, match="stages is another than was locked on"):
        storage.store(tmp_path / "small", changed)
    more = loading.override(pipeline, "0,1", [], None, None)
    storage.store(tmp_path / "small", more)
    assert storage.stored(tmp_path / "small").seeds == [0, 1]
    assert storage.later_seeds(tmp_path / "small", more) == [1]
    table = json.loads((tmp_path / "small" / storage.LOCK).read_text())
    (tmp_path / "small" / storage.LOCK).write_text(json.dumps({**table, "asked": {**table["asked"], "margin": 9}}))
    with pytest.raises(ValueError, match="was changed by hand"):
        storage.stored(tmp_path / "small")


# --- the report --------------------------------------------------------------------------------------------------


def test_the_report_is_the_records(whole: Path, pipeline: Pipeline) -> None:
    from harness.pipelines.report import write_report

    lines = write_report(whole)
    text = (whole / "report.md").read_text()
    assert lines[0].startswith("At completions=112, 1 seed: small ends at") and lines[0] in text
    results = load(whole)
    by_hand = {s.name: read_record(whole / "seed0" / s.name)["spend"] for s in pipeline.stages}  # type: ignore[index]
    for unit in ("completions", "flops", "updates"):
        close(results.whole(0)[unit], sum(spend[unit] for spend in by_hand.values()))
    assert "| draw | rejection_sample | rl | 30% |" in text and "| alone | sft |" in text
    assert (whole / "stages.csv").read_text().count("\n") == 1 + len(pipeline.all)
    again = (whole / "report.md").read_bytes()
    write_report(whole)
    assert (whole / "report.md").read_bytes() == again
