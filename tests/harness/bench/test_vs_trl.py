"""The comparison with a peer: its arithmetic, its checks of the input, its models; with TRL, all of it once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from harness.bench import model_shapes, random_reward, results
from harness.bench.vs_trl import comparison, ratios
from harness.bench.vs_trl.job import Cycle, Job, Mode
from harness.bench.vs_trl.process import Side, SideFailed
from harness.cli.main import app
from tests.helpers import close

PHASES = ratios.PHASES


def step(seconds: tuple[float, float, float], tokens: int = 100, growth: int = 10) -> dict[str, Any]:
    return {**dict(zip(PHASES, seconds, strict=True)), "tokens": tokens, "growth_bytes": growth, "reward_mean": 0.0}


def entry(name: str, peer: tuple[float, float, float], reason: str | None = None) -> dict[str, Any]:
    pairs = [{"ours": step((1, 2, 3)), "peer": step(peer, growth=40)}]
    told = {"mode": name, "settings": vars(Mode(engine=name)), "reason": reason, "pairs": [] if reason else pairs}
    if reason is not None:
        return told
    return {**told, "phases": ratios.compare_pairs(pairs), "memory_ratio": ratios.memory_ratio(pairs)}


@pytest.fixture
def with_trl(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were installed."""
    monkeypatch.setattr(comparison, "find_spec", lambda name: object())


def test_medians_and_spreads() -> None:
    close(results.middle([3.0, 1.0, 2.0, 10.0]), 2.5)
    close(results.spread([3.0, 1.0, 2.0]), [1.0, 3.0])


def test_a_ratio_is_of_a_pair() -> None:
    """The median of the pairs' ratios (2, 3, 8), which need not be the ratio of the medians (8 / 2)."""
    pairs = [
        {"ours": step((1, 1, 4)), "peer": step((1, 1, 8))},
        {"ours": step((1, 1, 2)), "peer": step((1, 1, 6), tokens=300)},
        {"ours": step((1, 1, 1)), "peer": step((1, 1, 8), tokens=400)},
    ]
    found = ratios.compare_pairs(pairs)["end_to_end"]
    close([found["ratio"], *found["spread"]], [3.0, 2.0, 8.0])
    # per token: 2 / 1, 3 / 3, 8 / 4
    close([found["ratio_per_token"], *found["spread_per_token"]], [2.0, 1.0, 2.0])
    close([found["ours"], found["peer"]], [2.0, 8.0])
    # 1000 x 8 / 100, 6 / 300, 8 / 400
    close(found["peer_per_1000_tokens"], 20.0)


def test_memory_is_ours_over_theirs_at_the_end() -> None:
    pairs = [{"ours": step((1, 1, 1), growth=9), "peer": step((1, 1, 1), growth=1)}]
    pairs.append({"ours": step((1, 1, 1), growth=10), "peer": step((1, 1, 1), growth=40)})
    close(ratios.memory_ratio(pairs), 0.25)


def test_the_fastest_mode_counts_and_a_failed_one_is_kept() -> None:
    found = [entry("generate", (4, 5, 9)), entry("static", (1, 5, 6)), entry("continuous", (0, 0, 0), "it fell")]
    case = {"case": "natural", "beta": 0.04, "modes": found, "peer_mode": "static"}
    rows = ratios.rows_of(case)
    assert [(r["phase"], r["peer_mode"], r["case"]) for r in rows] == [(p, "static", "natural") for p in PHASES]
    close([r["ratio"] for r in rows], [1.0, 2.5, 2.0])
    close([r["memory_ratio"] for r in rows], [0.25] * 3)
    text = ratios.render([case])
    assert "static *" in text and "continuous: did not run" in text and "generate *" not in text


def test_a_step_is_cut_into_equal_parts_only(with_trl: None) -> None:
    assert comparison.Options(prompts=3, group_size=4, parts=(4, 5, 6, 16)).parts_of_a_step == [4, 6]


def test_a_mode_that_met_a_faster_machine_is_not_the_fastest() -> None:
    """3 s against our 1 s while the machine was quick, 8 s against our 4 s while it was slow: the second counts."""
    found = []
    for name, ours, theirs in (("generate", 1.0, 3.0), ("static", 4.0, 8.0)):
        pairs = [{"ours": step((1, 1, ours)), "peer": step((1, 1, theirs))}]
        found.append({"mode": name, "reason": None, "phases": ratios.compare_pairs(pairs)})
    assert (ratios.fastest(found) or {})["mode"] == "static"


def test_where_no_mode_runs_there_is_no_row() -> None:
    case = {"case": "natural", "beta": 0.0, "modes": [entry("static", (0, 0, 0), "it fell")], "peer_mode": None}
    assert ratios.rows_of(case) == []
    assert "did not run" in ratios.render([case])


def test_every_engine_is_tried_without_checkpointing_and_with_it() -> None:
    names = [mode.name for mode in comparison.modes(["generate", "static"])]
    assert names == ["generate", "static", "generate+checkpointing", "static+checkpointing"]
    assert [mode.name for mode in comparison.modes(["generate", "static"], checkpointing=False)] == names[:2]
    assert Mode(engine="generate", parts=4).name == "generate/4"


class Sides:
    """Both sides, made up: the peer has room for so many of a step's parts and no fewer; `parts` is None of ours."""

    room: int

    def __init__(self, job: Job) -> None:
        self.parts = None if job.mode is None else job.mode.parts

    def __enter__(self) -> Sides:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def reply(self) -> dict[str, Any]:
        return {"device": "cpu", "threads": 1}

    def step(self) -> dict[str, Any]:
        if self.parts is not None and self.parts < self.room:
            raise SideFailed("OutOfMemoryError")
        return step((1, 1, 2 if self.parts is None else 4 + self.parts))


@pytest.mark.parametrize(
    ("room", "names"),
    [(1, ["generate", "static", "generate/4"]), (4, ["generate", "static", "generate/4", "static/4"])],
)
def test_the_record_is_written_after_each_mode(
    room: int, names: list[str], with_trl: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The fastest mode is tried in parts; every one of them, where none has room for the step as a whole."""
    monkeypatch.setattr(Sides, "room", room, raising=False)
    monkeypatch.setattr(comparison, "Side", Sides)
    monkeypatch.setattr(comparison, "check_equal", lambda *_: {"rows": []})
    written: list[dict[str, Any]] = []
    keep = results.write
    monkeypatch.setattr(results, "write", lambda *given: written.append(given[2]) or keep(*given))
    options = comparison.Options(
        model="tiny", cases=("forced",), betas=(0.04,), prompts=2, group_size=4, repeats=1, out=tmp_path,
        engines=("generate", "static"), checkpointing=False, parts=(4,),
    )  # fmt: skip
    found = json.loads(comparison.bench(options, lambda _: None).read_text())
    assert [mode["mode"] for mode in found["cases"][0]["modes"]] == names and len(found["rows"]) == len(PHASES)
    assert [len(r["cases"][0]["modes"]) for r in written] == [*range(1, len(names) + 1), len(names)]
    assert [r["partial"] for r in written] == [True] * len(names) + [False]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": "x"}, "unknown shape 'x'"),
        ({"cases": ("x",)}, "cases: unknown x; valid: natural, forced"),
        ({"engines": ("x",)}, "engines: unknown x"),
        ({"engines": ()}, "engines: at least one"),
        ({"prompts": 0}, "prompts: must be at least 1"),
        ({"repeats": 0}, "repeats: must be at least 1"),
        ({"group_size": 1}, "group_size"),
        ({"betas": (-0.1,)}, "betas"),
        ({"betas": ()}, "betas"),
        ({"parts": (4, 1)}, "parts: numbers of 2 and more"),
        ({"device": "tpu"}, "device"),
    ],
)
def test_input_is_checked(given: dict[str, Any], message: str, with_trl: None) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        comparison.Options(**given)


def test_without_trl_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "find_spec", lambda name: None)
    done = CliRunner().invoke(app, ["bench", "peers"])
    assert isinstance(done.exception, ValueError)
    assert str(done.exception) == 'TRL is not installed here: pip install -e ".[peers]"'


def test_a_word_that_is_no_number_is_told(with_trl: None) -> None:
    done = CliRunner().invoke(app, ["bench", "peers", "--betas", "0,x"])
    assert isinstance(done.exception, ValueError) and "betas: 'x' is not a number" in str(done.exception)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("trl-llama", 1_583_040),
        ("qwen2.5-0.5b", 494_032_768),
        ("qwen2.5-1.5b", 1_543_714_304),
        ("qwen2.5-7b", 7_615_616_512),
    ],
)
def test_shapes_have_the_public_sizes(name: str, count: int) -> None:
    assert model_shapes.parameters(name) == count


def test_a_shape_is_the_same_folder_every_time(tmp_path: Path) -> None:
    from harness.models.loading import load_model, weights_sha256

    folders = [model_shapes.folder("tiny", tmp_path / name) for name in ("a", "b")]
    assert weights_sha256(folders[0]) == weights_sha256(folders[1])
    model, tokenizer, _ = load_model(str(folders[0]))
    assert model.config.vocab_size == len(tokenizer) == model_shapes.SHAPES["tiny"]["vocab_size"]
    assert tokenizer.decode(tokenizer("12-(5-3)+4=")["input_ids"]) == "12-(5-3)+4="
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id


def test_every_id_of_a_random_model_has_text_of_its_own() -> None:
    tokenizer = model_shapes.tokenizer(400)
    assert len(tokenizer) == 400
    texts = [tokenizer.decode([i]) for i in range(258, 400)]
    assert len(set(texts)) == len(texts) and all(texts)


def test_nano_keeps_its_weights_and_its_profile(tmp_path: Path) -> None:
    from harness.config.start_models import MODELS, defaults_of
    from harness.models.loading import weights_sha256

    folder = model_shapes.folder("nano", tmp_path / "nano")
    assert weights_sha256(folder) == weights_sha256(MODELS / "nano")
    assert defaults_of(str(folder)) == defaults_of("nano")


def test_the_coin_is_fair_and_depends_on_the_text_alone() -> None:
    tossed = [random_reward.coin(None, f"text {k}", None) for k in range(1000)]  # type: ignore[arg-type]
    assert tossed == [random_reward.coin(None, f"text {k}", None) for k in range(1000)]  # type: ignore[arg-type]
    assert set(tossed) == {0.0, 1.0} and 430 < sum(tossed) < 570


def job(**given: Any) -> Job:
    fields: dict[str, Any] = {
        "side": "ours", "folder": "nowhere", "beta": 0.04, "forced": True, "prompts": 2, "group_size": 2,
        "max_new_tokens": 4, "reward": "rule", "device": "cpu", "dtype": "float32", "cycle": 2,
    }  # fmt: skip
    return Job(**{**fields, **given})


def test_a_job_survives_the_pipe() -> None:
    for made in (job(), job(mode=Mode(engine="static", parts=2), settings=("lr=1",))):
        assert Job.loads(made.dumps()) == made


def test_prompts_come_again_after_a_cycle() -> None:
    assert Cycle(["a", "b", "c", "d"], 0).take(6, 4) == ["c", "d", "a", "b"]  # type: ignore[list-item]


def test_a_side_that_cannot_start_says_why_in_one_line() -> None:
    with Side(job(folder="/nowhere")) as side, pytest.raises(SideFailed, match="nowhere") as raised:
        side.reply()
    assert "\n" not in str(raised.value)


def test_our_side_makes_the_steps_it_is_asked_for(tmp_path: Path) -> None:
    folder = model_shapes.folder("tiny", tmp_path / "tiny")
    with Side(job(folder=str(folder), reward=random_reward.NAME)) as side:
        ready = side.reply()
        found = side.step()
    assert ready["device"] == "cpu" and ready["threads"] == 1
    assert found["tokens"] == 2 * 2 * 4  # forced
    assert found["growth_bytes"] <= found["peak_bytes"]
    close(found["end_to_end"], found["rollout"] + found["reward"] + found["update"])


@pytest.mark.peers
@pytest.mark.timeout(600)
def test_the_whole_comparison(tmp_path: Path) -> None:
    pytest.importorskip("trl")
    options = comparison.Options(
        model="tiny", cases=("natural", "forced"), betas=(0.04,), prompts=2, group_size=2, max_new_tokens=6, repeats=1,
        engines=("generate",), parts=(2,), device="cpu", out=tmp_path,
    )  # fmt: skip
    printed: list[str] = []
    record = json.loads(comparison.bench(options, printed.append).read_text())
    assert record["suite"] == "peers" and record["environment"]["packages"]["trl"] != "absent"
    assert len(record["equal"]["rows"]) == 8
    assert [c["case"] for c in record["cases"]] == ["natural", "forced"]
    modes = [mode for case in record["cases"] for mode in case["modes"]]
    assert len(modes) == 6 and all(mode["reason"] is None for mode in modes)
    forced = [pair for mode in record["cases"][1]["modes"] for pair in mode["pairs"]]
    assert {pair[side]["tokens"] for pair in forced for side in ("ours", "peer")} == {2 * 2 * 6}
    assert len(record["rows"]) == 2 * len(PHASES)
    assert all(row["ratio"] > 0 and row["spread"][0] <= row["ratio"] <= row["spread"][1] for row in record["rows"])
    assert "end to end" in printed[-2]


def test_an_attribute_is_replaced_and_restored() -> None:
    from harness.bench.vs_trl.equivalence import replaced

    class Base:
        def value(self) -> int:
            return 1

    class Derived(Base):
        pass

    one = Derived()
    with pytest.raises(RuntimeError), replaced(Derived, "value", lambda self: 2), replaced(one, "value", lambda: 3):
        assert (one.value(), Derived().value()) == (3, 2)
        raise RuntimeError
    assert (one.value(), vars(one)) == (1, {}) and "value" not in vars(Derived)
    with replaced(Base, "value", lambda self: 4):
        assert one.value() == 4
    assert one.value() == 1
