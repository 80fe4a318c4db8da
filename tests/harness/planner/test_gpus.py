"""A GPU that is not here: its memory is the limit, and its published peaks give a range of time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.config.run_config import resolve
from harness.planner.command import planned, setting_of
from harness.planner.compute import cost_of
from harness.planner.gpus import GPUS, REACHED, gpu_of, seconds_on
from tests.harness.cli.test_main import Call, call  # noqa: F401 - a fixture
from tests.helpers import close

CONFIG = {
    "model_type": "llama", "hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32, "vocab_size": 32000,
    "intermediate_size": 8192, "max_position_embeddings": 4096,
}  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> str:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return str(tmp_path)


def test_every_card_has_a_source_and_plausible_numbers() -> None:
    for name, gpu in GPUS.items():
        assert name == name.lower() and gpu.source and 10 < gpu.tflops < 1e4 and 0.1 < gpu.bandwidth < 20
    assert gpu_of("H100") is gpu_of("h100") and gpu_of("RTX 4090").memory == 24


def test_the_time_is_what_the_peaks_allow(model: str) -> None:
    """By hand: a step reads the weights in 16 bits and half the keys; all other FLOPs are at the peak."""
    flags = {"model": model, "device": "cuda", "budget": "completions=1024"}
    s = setting_of(resolve(flags, ["rollout_batch_size=512", "algo.kl_coef=0"], None), 128)
    gpu, a, own = gpu_of("h100"), s.architecture, s.config.max_new_tokens
    keys = 2 * 2 * a.layers * a.keyed * (128 + own / 2) * 512
    step = max((2 * a.parameters + keys) / 3.35e12, 0.0)
    multiplied, attended = a.parameters - a.embedding, 4 * a.layers * a.attended
    prompts = 32 * (2 * multiplied * 128 + attended * 128 * 129 / 2)
    rollout = prompts + 512 * (2 * multiplied * own + attended * (own * 128 + own * (own + 1) / 2))
    rounds, total = 2, cost_of(s).flops
    assert total is not None
    ideal = rounds * max(own * step, rollout / 989e12) + (total - rounds * rollout) / 989e12
    good, poor = seconds_on(gpu, s) or (0.0, 0.0)
    close(good, ideal / REACHED[0])
    close(poor, ideal / REACHED[1])


def test_a_faster_card_is_faster_and_a_small_one_does_not_fit(model: str) -> None:
    s = setting_of(resolve({"model": model, "device": "cuda", "budget": "completions=1024"}, [], None), 128)
    times = [(seconds_on(gpu_of(name), s) or (0.0, 0.0))[0] for name in ("h200", "h100", "a100", "t4")]
    assert times == sorted(times) and times[0] > 0
    config = resolve({"model": model}, [], None)
    text, fits = planned(config, 128, None, False, gpu="t4")
    assert not fits and "does not fit in 14.9 GiB" in text and "rough: nothing was measured" in text
    assert planned(config, 128, None, False, gpu="b200")[1]
    table = json.loads(planned(config, 128, None, True, gpu="t4")[0])
    assert table["fits"] is False and table["time"]["seconds"] > 0


def test_the_exit_code_says_whether_it_fits(call: Call, model: str) -> None:  # noqa: F811
    assert call("plan", "--model", model, "--gpu", "t4")[0] == 1
    assert call("plan", "--model", model, "--gpu", "b200")[0] == 0
    assert call("plan", "--model", model, "--limit-gib", "1", "--no-measure")[0] == 1
