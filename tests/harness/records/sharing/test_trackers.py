"""Trackers beside a record.  What of them is installed is used for real, locally; the rest is a stand-in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from accelerate import PartialState, tracking

import harness.records.sharing.trackers
from harness.records.sharing.trackers import Trackers, check_trackers, installed
from tests.harness.cli.test_main import Call, call, words_of  # noqa: F401

CONFIG = {"lr": 1e-3, "algo.kl_coef": 0.04, "model": "nano"}
SAMPLES = [{"prompt": "1+1=", "completion": "2", "reward": 1.0, "verdict": "correct"}]


def record(status: str = "finished") -> dict[str, Any]:
    row = {"task": "arithmetic", "filter": "strict", "metric": "exact_match", "value": 0.5, "stderr": 0.1, "n": 4}
    return {"status": status, "evals": [{**row, "fraction": f} for f in (0.0, 1.0)]}


class Fake:
    """What accelerate's trackers have in common."""

    made: list[Fake] = []
    fails = ""

    def __init__(self, project: str, **kwargs: Any) -> None:
        self.project, self.init_kwargs, self.said = project, kwargs, list[Any]()
        self.tracker = type("Run", (), {"url": "http://here", "name": kwargs.get("name")})
        Fake.made.append(self)

    def _say(self, what: str, *words: Any) -> None:
        if what == Fake.fails:
            raise ConnectionError("the server\nis gone")
        self.said.append((what, *words))

    def start(self) -> None:
        self._say("start")

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self._say("config", values)

    def log(self, values: dict[str, Any], step: int) -> None:
        self._say("log", values, step)

    def log_table(self, title: str, columns: list[str], data: list[list[Any]], step: int) -> None:
        self._say("table", title, columns, data, step)

    def finish(self) -> None:
        self._say("finish")


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    monkeypatch.setattr(tracking, "WandBTracker", Fake)
    monkeypatch.setattr(tracking, "TrackioTracker", Fake)
    monkeypatch.setattr(harness.records.sharing.trackers, "installed", lambda name: True)
    monkeypatch.setenv("WANDB_SILENT", "true")
    Fake.made, Fake.fails = [], ""
    return Fake


def tracked(folder: Path, names: list[str], said: list[str], first: int, last: int, resumed: bool) -> None:
    """Rounds first..last, an evaluation before and after."""
    trackers = Trackers(names, "mine", folder, said.append)
    trackers.start(CONFIG, resumed)
    if not resumed:
        trackers.evaluation(0, 0.0, {"eval/arithmetic/strict": 0.25})
    for number in range(first, last + 1):
        trackers.round(number, {"reward": number / 10}, SAMPLES)
    trackers.evaluation(last, 1.0, {"eval/arithmetic/strict": 0.5})
    trackers.finish(record(), last)


def test_all_of_a_run_is_logged_and_a_resumed_one_goes_on(fakes: type[Fake], tmp_path: Path) -> None:
    said: list[str] = []
    trackers = Trackers(["wandb"], "mine", tmp_path, said.append)
    trackers.start(CONFIG, resumed=False)
    trackers.evaluation(0, 0.0, {"eval/arithmetic/strict": 0.25})
    trackers.round(1, {"reward": 0.1}, SAMPLES)
    trackers.round(2, {"reward": 0.2}, SAMPLES)
    trackers.finish(record("interrupted"), 2)
    assert said == ["tracked by wandb: http://here"]
    (first,) = fakes.made
    assert first.project == "mine" and first.said == [
        ("start",),
        ("config", CONFIG),
        ("log", {"eval/arithmetic/strict": 0.25}, 0),
        ("log", {"reward": 0.1}, 1),
        ("log", {"reward": 0.2}, 2),
        ("finish",),
    ]
    tracked(tmp_path, ["wandb"], said, 2, 3, resumed=True)  # its checkpoint was of round 1
    second = fakes.made[1]
    assert second.init_kwargs["id"] == first.init_kwargs["id"] and second.init_kwargs["resume"] == "allow"
    logged = [words for words in second.said if words[0] in ("log", "table")]
    columns = ["task", "fraction", "filter", "metric", "value", "stderr", "n"]
    assert logged == [
        ("log", {"reward": 0.3}, 3),
        ("log", {"eval/arithmetic/strict": 0.5}, 3),
        (
            "table",
            "samples",
            ["round", "prompt", "completion", "reward", "verdict"],
            [[3, "1+1=", "2", 1.0, "correct"]],
            3,
        ),
        ("table", "final", columns, [["arithmetic", 1.0, "strict", "exact_match", 0.5, 0.1, 4]], 3),
    ]
    tracked(tmp_path, ["wandb"], said, 1, 1, resumed=False)  # another run of that name is another tracked run
    assert fakes.made[2].init_kwargs["id"] != first.init_kwargs["id"]


@pytest.mark.parametrize("place", ["start", "config", "log", "table", "finish"])
def test_a_tracker_that_fails_is_one_warning(fakes: type[Fake], place: str, tmp_path: Path) -> None:
    said: list[str] = []
    fakes.fails = place
    tracked(tmp_path, ["wandb"], said, 1, 2, resumed=False)
    warnings = [line for line in said if line.startswith("warning: wandb has failed, and the run goes on without it")]
    assert len(warnings) == 1 and "ConnectionError: the server is gone" in warnings[0]


def test_one_tracker_fails_and_the_other_goes_on(
    fakes: type[Fake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Fake):
        def start(self) -> None:
            raise OSError("no disk")

    monkeypatch.setattr(tracking, "WandBTracker", Broken)
    monkeypatch.setattr(Trackers, "_table", lambda *words: None)
    said: list[str] = []
    tracked(tmp_path, ["wandb", "trackio"], said, 1, 2, resumed=False)
    assert len([line for line in said if "warning" in line]) == 1
    assert ("log", {"reward": 0.2}, 2) in fakes.made[1].said


@pytest.mark.parametrize(
    ("names", "message"),
    [(["wanbd"], "unknown tracker 'wanbd'; valid: wandb"), (["mlflow"], "mlflow is not installed")],
)
def test_a_tracker_that_cannot_be_had(names: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness.records.sharing.trackers, "installed", lambda name: False)
    with pytest.raises(ValueError, match=f"track: {message}"):
        check_trackers(names)


def test_an_unknown_tracker_is_bad_input(call: Call, taught: Path, tmp_path: Path) -> None:  # noqa: F811
    code, _, said = call(*words_of(taught, tmp_path), "--track", "tensorboard", "--track", "nobody")
    assert code == 2 and "track: unknown tracker 'nobody'" in said and not (tmp_path / "x").exists()


def test_a_tracked_run_trains_as_an_untracked_one(
    fakes: type[Fake],
    call: Call,  # noqa: F811
    taught: Path,
    tmp_path: Path,
) -> None:
    words = [*words_of(taught, tmp_path)[:-4], "--budget", "completions=32", "--set", "eval_fractions=0,1", "--quiet"]
    words += ["--set", "task.train_size=16", "--set", "task.test_size=4", "--set", "task.other_size=2"]
    assert call(*words, "--track", "wandb")[0] == 0
    words[words.index("--name") + 1] = "plain"
    assert call(*words)[0] == 0
    lines = [
        [{k: v for k, v in json.loads(line).items() if "time" not in k and "perf" not in k and "mem" not in k
          and "seconds" not in k} for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("x", "plain")
    ]  # fmt: skip
    assert lines[0] == lines[1]
    (fake,) = fakes.made
    steps = [words[2] for words in fake.said if words[0] == "log" and "reward" in words[1]]
    assert steps == [1, 2] and fake.said[-1] == ("finish",) and fake.said[-2][1] == "final"
    records = [json.loads((tmp_path / name / "record.json").read_text()) for name in ("x", "plain")]
    assert records[0]["config_sha256"] == records[1]["config_sha256"]


# --- the real ones, where they are installed ------------------------------------------------------------------------


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not installed(name), reason=f"{name} is not installed: pip install '.[{name}]'")


@needs("mlflow")
def test_mlflow_for_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file store: one run, each point once, samples and final table as artifacts, its status when it ended."""
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    PartialState()
    said: list[str] = []
    trackers = Trackers(["mlflow"], "mine", tmp_path, said.append)
    trackers.start(CONFIG, resumed=False)
    for number in (1, 2):
        trackers.round(number, {"reward": number / 10}, SAMPLES)
    trackers.finish(record("interrupted"), 2)
    tracked(tmp_path, ["mlflow"], said, 2, 3, resumed=True)
    assert not [line for line in said if "warning" in line], said
    client = mlflow.MlflowClient()
    (experiment,) = client.search_experiments(filter_string="name = 'mine'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.params["algo.kl_coef"] == "0.04" and run.info.status == "FINISHED"
    history = [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "reward")]
    assert sorted(history) == [(1, 0.1), (2, 0.2), (3, 0.3)]
    artifacts = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"samples-3.jsonl", "final-3.jsonl"} <= artifacts


@needs("trackio")
def test_trackio_for_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # it is read on import
    import trackio

    PartialState()
    said: list[str] = []
    tracked(tmp_path, ["trackio"], said, 1, 2, resumed=False)
    tracked(tmp_path, ["trackio"], said, 2, 3, resumed=True)
    assert not [line for line in said if "warning" in line], said
    runs = trackio.Api().runs("mine")
    assert len(list(runs)) == 1


@needs("wandb")
def test_wandb_offline_for_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sittings are two offline folders with one id, which `wandb sync` brings together."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    PartialState()
    said: list[str] = []
    tracked(tmp_path, ["wandb"], said, 1, 2, resumed=False)
    tracked(tmp_path, ["wandb"], said, 2, 3, resumed=True)
    assert not [line for line in said if "warning" in line], said
    folders = [f.name for f in (tmp_path / "wandb").glob("offline-run-*")]
    assert len({name.rpartition("-")[2] for name in folders}) == 1
