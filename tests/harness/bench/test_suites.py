"""The suites without a peer: workloads on the real loop, the limits of the machine, exponents.  No time is asserted."""

from __future__ import annotations

import dataclasses
import gc
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.bench import algorithms, model_shapes, results, roofline, scaling, workload
from harness.bench.workload import ARMS, Options, Workload
from harness.config.errors import RunFailed
from harness.records import environment
from tests.helpers import close


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_shapes.folder("tiny", tmp_path_factory.mktemp("bench") / "tiny")


def options(**changes: Any) -> Options:
    small: dict[str, Any] = {"prompts": 2, "group_size": 4, "max_new_tokens": 6, "rounds": 2}
    return Options(**{"model": "tiny", "arms": (), **small, **changes})


@pytest.fixture(scope="module")
def measured(folder: Path) -> dict[str, dict[str, Any]]:
    """Every arm, in this process."""
    probe = "harness.bench.roofline:against_the_machine"
    return {arm: workload.measure(options(prompt_tokens=20).workload(arm, folder, probe=probe)) for arm in ARMS}


def test_a_workload_is_the_loop_at_the_shape_asked_for(measured: dict[str, dict[str, Any]]) -> None:
    """Forced lengths: three rounds of 2 x 4 completions of exactly 6 tokens, the first left out of the timing."""
    for arm, found in measured.items():
        assert found["spend"]["generated_tokens"] == 3 * 2 * 4 * 6, arm
        turns = found["turns"]["rollout"]
        assert len(turns) == 2 and all(t["tokens"] == 2 * 4 * 6 and t["seconds"] > 0 for t in turns)
        assert found["turns"]["update"] and workload.seconds(found) > 0
        assert found["checks"]["first_update_max_abs_logratio"] < 1e-5
        json.dumps(found)


def test_parts_of_memory_are_those_of_the_arm(measured: dict[str, dict[str, Any]]) -> None:
    parts = {arm: set(found["memory"]["parts"]) for arm, found in measured.items()}
    assert {arm for arm in ARMS if "critic" in parts[arm]} == {"ppo", "ppo_kl", "ppo_shared"}
    assert {arm for arm in ARMS if "reference" in parts[arm]} == {"grpo_kl", "ppo_kl"}
    size = {arm: found["memory"]["parts"]["policy"]["bytes"] for arm, found in measured.items()}
    assert set(size.values()) == {4 * model_shapes.parameters("tiny")}
    optimizer = {arm: found["memory"]["parts"]["optimizer"]["bytes"] for arm, found in measured.items()}
    assert optimizer["ppo"] > 1.5 * optimizer["grpo"]


def test_necessary_tokens_by_hand(folder: Path) -> None:
    """Prompts of 20 tokens and completions of 6: each prompt once, five tokens of each completion, six logits."""
    trainer = workload.prepare_run(options(prompt_tokens=20).workload("grpo", folder)).trainer
    found = roofline._tokens(trainer)
    assert found["packed"] == 2 * 20 + 8 * 5 and found["chosen"] == 8 * 6 and found["steps"] == 5
    assert found["context"] == 2 * (20 * 21 / 2) + 8 * sum(range(21, 26))
    assert found["keys"] == 8 * sum(range(1, 6)) + 5 * 40


def test_shares_are_work_over_rate_over_time(measured: dict[str, dict[str, Any]]) -> None:
    found = measured["grpo_kl"]["probe"]
    for phase in ("rollout", "annotate", "update"):
        rate = found["necessary_flops"][phase] / found["seconds"][phase]
        close(found["share"][phase], rate / found["alone_flops_per_second"][phase], rtol=1e-9)
    close(found["necessary_flops"]["update"], 3 * found["necessary_flops"]["annotate"], rtol=1e-12)
    assert "annotate" not in measured["grpo"]["probe"]["share"], "nothing is annotated without KL and critic"


@pytest.mark.parametrize("arm", ["grpo_kl", "ppo", "rft"])
def test_the_plan_stands_beside_what_was_counted(folder: Path, arm: str) -> None:
    """Within a tenth, at a shape that is a tenth of a second's work."""
    gc.collect()
    gc.freeze()  # the ledger walks all objects that Python tracks: not those of other tests
    found = workload.measure(
        options(prompt_tokens=20, group_size=8).workload(arm, folder, probe="harness.bench.algorithms:predicted")
    )
    counted, planned = found["probe"]["tensors_bytes"], found["probe"]["peak_bytes"]
    assert counted is None if arm == "rft" else 0.9 < planned / counted < 1.1
    gc.unfreeze()


def test_matrix_products_are_the_models(folder: Path) -> None:
    trainer = workload.prepare_run(options().workload("grpo", folder)).trainer
    found = roofline._products(trainer.policy.lm.model)
    model = trainer.policy.lm.model
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and "embed" not in name]
    head = model.get_output_embeddings().weight  # tied: no parameter of its own
    assert sum(a * b for a, b in found) == sum(p.numel() for p in matrices) + head.numel()
    assert found[-1] == tuple(head.shape)


def test_a_suite_writes_its_record_and_prints_its_tables(
    folder: Path, measured: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = {"peak_bytes": 2**20, "tensors_bytes": None}
    monkeypatch.setattr(
        workload,
        "run",
        lambda work: {
            **measured[work.arm],
            "probe": plan if "algorithms" in work.probe else measured[work.arm]["probe"],
        },
    )
    monkeypatch.setattr(model_shapes, "folder", lambda *_: folder)
    printed: list[str] = []
    for suite in (algorithms, roofline):
        file = suite.bench(options(out=tmp_path), printed.append)  # type: ignore[attr-defined]
        record = json.loads(file.read_text())
        assert record["environment"]["threads"] == torch.get_num_threads() and record["command"]
        assert str(folder) not in file.read_text(), "a record names no folder of the machine"
        assert record["partial"] is False
    text = "\n".join(printed)
    assert all(arm in text for arm in ARMS) and "of the rate alone" in text
    assert {p.name for p in tmp_path.iterdir()} == {"algos-tiny.json", "limit-tiny.json"}


def test_scale_goes_along_one_axis_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine on which a completion costs 2 ms a token and nothing else."""

    def machine(work: Workload) -> dict[str, Any]:
        count = work.prompts * work.group_size
        turn = {"seconds": 0.002 * count * work.max_new_tokens, "tokens": 1}
        return {"turns": {"rollout": [turn]}, "flops_a_round": 5.0 * count, "device": "cpu", "threads": 2}

    monkeypatch.setattr(workload, "run", machine)
    monkeypatch.setattr(model_shapes, "folder", lambda *_: folder)
    printed: list[str] = []
    file = scaling.bench(options(out=tmp_path, most=4096, max_new_tokens=16), printed.append)
    record = json.loads(file.read_text())
    assert all(r["size"] * 16 * 4 <= 4096 for r in record["rows"] if r["axis"] == "prompts")
    fitted = {f["axis"]: f for f in record["exponents"]}
    close([fitted[a]["seconds"] for a in ("group_size", "max_new_tokens", "prompts")], [0.0, 1.0, 0.0])
    close(fitted["max_new_tokens"]["flops"], 0.0)
    assert "+1.00" in printed[-1] and record["partial"] is False


@pytest.mark.parametrize("suite", [roofline, scaling], ids=["limit", "scale"])
def test_what_was_measured_before_a_failure_is_kept(
    suite: Any, folder: Path, measured: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def once(work: Workload) -> dict[str, Any]:
        if list(tmp_path.iterdir()):
            raise RunFailed("no memory")
        return dict(measured["grpo"])

    monkeypatch.setattr(workload, "run", once)
    monkeypatch.setattr(model_shapes, "folder", lambda *_: folder)
    with pytest.raises(RunFailed):
        suite.bench(options(out=tmp_path), lambda _: None)
    (file,) = tmp_path.iterdir()
    record = json.loads(file.read_text())
    assert record["partial"] is True and len(record["rows"]) == 1


@pytest.mark.parametrize("commit", ["c" * 40, None])
def test_arms_of_an_earlier_sitting_are_kept_where_the_code_is_the_same(
    commit: str | None, folder: Path, measured: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first sitting ends in the third arm, the second goes on there; without a commit it begins anew."""
    ran: list[str] = []

    def some(work: Workload) -> dict[str, Any]:
        if len(ran) == 2:
            ran.append("cut off")
            raise KeyboardInterrupt
        ran.append(work.arm)
        return {**measured[work.arm], "probe": {"peak_bytes": 2**20, "tensors_bytes": None}}

    monkeypatch.setattr(workload, "run", some)
    monkeypatch.setattr(results, "commit", lambda: commit)
    monkeypatch.setattr(model_shapes, "folder", lambda *_: folder)
    arms = ("grpo", "ppo_shared", "ppo", "rft")
    with pytest.raises(KeyboardInterrupt):
        algorithms.bench(options(out=tmp_path, arms=arms), lambda _: None)
    first = json.loads((tmp_path / "algos-tiny.json").read_text())
    assert first["partial"] is True and [r["arm"] for r in first["rows"]] == ["grpo", "ppo_shared"]
    algorithms.bench(options(out=tmp_path, arms=arms), lambda _: None)
    assert ran == ["grpo", "ppo_shared", "cut off", *(arms[2:] if commit else arms)]
    whole = json.loads((tmp_path / "algos-tiny.json").read_text())
    assert whole["partial"] is False and [r["arm"] for r in whole["rows"]] == [*arms]


def test_a_copy_without_its_repository_is_given_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_COMMIT", "e" * 40)
    monkeypatch.setattr(environment, "_git", lambda *words: "a" * 40 if words[0] == "rev-parse" else "")
    assert results.commit() == "a" * 40, "where there is a repository, it knows better"
    monkeypatch.setattr(environment, "_git", lambda *_: "")
    found = environment.environment("cpu", 1)
    assert (found["commit"], found["dirty"]) == ("e" * 40, None)
    monkeypatch.delenv("HARNESS_COMMIT")
    assert results.commit() is None


def test_exponents_by_hand() -> None:
    close(scaling.exponent([2, 4, 8], [5, 20, 80]), 2.0)
    close(scaling.exponent([1, 2, 4], [7, 7, 7]), 0.0)
    rows = [{"arm": "a", "axis": "x", "size": s, "seconds": float(s)} for s in (1, 2)]
    assert scaling.exponents(rows) == [], "two points are no fit"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "gpt5"}, "model: unknown shape 'gpt5'; valid: nano, tiny"),
        ({"arms": ("grpo", "dpo")}, "arms: unknown dpo; valid: grpo, grpo_kl"),
        ({"rounds": 0}, "rounds: must be at least 1, not 0"),
        ({"prompt_tokens": -1}, "prompt_tokens: must be at least 0, not -1"),
    ],
)
def test_what_cannot_be_run(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        options(**changes)


def test_a_workload_survives_the_way_to_its_process(folder: Path) -> None:
    work = options(settings=("micro_batch_tokens=64",)).workload("ppo_shared", folder)
    assert Workload.loads(work.dumps()) == work
    assert workload.config_of(work).micro_batch_tokens == 64 and workload.config_of(work).algo["critic"] == "shared"
    assert "folder" not in workload.as_row(work)


def test_a_workload_that_fails_gives_its_reason_in_a_line(folder: Path) -> None:
    broken = dataclasses.replace(options().workload("grpo", folder), max_new_tokens=10**6)
    with pytest.raises(RunFailed, match=r"grpo: ValueError: .*do not fit the model's context"):
        workload.run(broken)


def test_calls_are_doubled_until_they_take_the_floor() -> None:
    """A launch of 3 ms against a floor of 20: 8 calls take 24.  One that takes 50 is timed alone."""
    asked: list[int] = []

    def took(calls: int) -> float:
        asked.append(calls)
        return 0.003 * calls

    assert roofline._calls(took, 0.02) == 8 and asked == [1, 2, 4, 8]
    assert roofline._calls(lambda calls: 0.05 * calls, 0.02) == 1


def test_on_the_cpu_a_product_is_timed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks, made = iter(range(100)), list[int]()
    monkeypatch.setattr(roofline.time, "perf_counter", lambda: float(next(ticks)))
    assert roofline._best(lambda: made.append(1), torch.device("cpu"), times=3) == 1.0
    assert len(made) == 1 + 3


def test_bytes_and_copies_are_timed() -> None:
    assert roofline._bandwidth(torch.device("cpu")) > 1e8
    assert results.table(["a"], [["b"]]).splitlines()[0] == "a"
