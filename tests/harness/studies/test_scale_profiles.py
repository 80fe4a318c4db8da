"""Another scale for a study: what gives way to it, and what is the question and stays."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from harness.config.experiment import resolve_experiment
from harness.config.run_config import resolve
from harness.studies import scale_profiles
from harness.studies.ad_hoc import override_study
from harness.studies.status import check_different
from harness.studies.study import Study, load, names, parse
from tests.harness.cli.test_main import Call, call, one_line  # noqa: F401
from tests.harness.record_factory import typist
from tests.harness.studies.test_study import refused, same

LARGE = """
source = "a paper"
model = "some/large"
lr = 1e-6
prompts = 4
budget = "generated_tokens=1000"
[algos.grpo]
kl_coef = 0.04
"""
TABLE: dict[str, Any] = {
    "seeds": 2,
    "base": {"model": "nano", "budget": "completions=64", "lr": 0.5, "eval_fractions": [0, 1]},
    "arms": {
        "a": {"algo": "grpo", "scale": {"lr": 0.2, "algo.kl_coef": 0, "warmup": 3}},
        "b": {"algo": "grpo", "prompts": 8, "algo.clip_low": 0.1},
        "c": {"algo": "rft", "scale": {"lr": 0.1}},
    },
}
COMMAND_LINE = ["model", "budget", "lr", "prompts", "warmup", "algo"]


def make_study(**more: Any) -> Study:
    return parse("s", copy.deepcopy({**TABLE, **more}))


@pytest.fixture
def large(tmp_path: Path) -> str:
    (tmp_path / "large.toml").write_text(LARGE)
    return str(tmp_path / "large.toml")


def fields(study: Study) -> dict[str, list[Any]]:
    return {c.arm: [getattr(c.config("out"), f) for f in COMMAND_LINE] for c in study.runs() if c.seed == 0}


def test_arms_whose_reward_or_algorithm_is_not_there_stay_out(tmp_path: Path) -> None:
    """And with them what is asked of them; an arm that was tuned as one of them is tuned for itself."""
    (tmp_path / "poor.toml").write_text('model = "some/large"\nwithout = ["process-rule", "sft"]\n')
    arms = {
        "a": {"algo": "grpo"},
        "b": {"algo": "grpo", "reward": "process-rule", "lr": 0.1},
        "c": {"algo": "rft", "tuned_as": "b"},
        "d": {"algo": {"name": "sft"}},
    }
    claims = [{"id": "H", "says": "", "arms": list(pair)} for pair in (("a", "b"), ("a", "c"), ("c", "start"))]
    report = {"blocks": {"all": ["a", "b", "c", "d"]}, "family": [["a", "b"], ["a", "c"]]}
    whole = make_study(arms=arms, hypotheses=claims, report=report)
    study = scale_profiles.apply_scale_profile(whole, scale_profiles.load(str(tmp_path / "poor.toml")))
    assert list(study.arms) == ["a", "c"] and "tuned_as" not in study.arms["c"]
    assert [h.arms for h in study.hypotheses] == [["a", "c"], ["c", "start"]]
    assert (study.report.blocks, study.report.family) == ({"all": ["a", "c"]}, [["a", "c"]])
    assert {c.arm for c in study.runs()} == {"a", "c"}


# ---------------------------------------------------------------- the layers


def test_an_arms_scale_lies_over_the_base() -> None:
    assert fields(make_study()) == {
        "a": ["nano", "completions=64", 0.2, 32, 3, {"kl_coef": 0}],
        "b": ["nano", "completions=64", 0.5, 8, 2, {"clip_low": 0.1}],  # warmup 2: nano's
        "c": ["nano", "completions=64", 0.1, 32, 2, {}],
    }


def test_a_profile_lies_over_base_and_scale_and_under_what_arms_ask(large: str) -> None:
    study = override_study(make_study(), None, [], None, large)
    assert fields(study) == {
        "a": ["some/large", "generated_tokens=1000", 1e-6, 4, 3, {"kl_coef": 0.04}],
        "b": ["some/large", "generated_tokens=1000", 1e-6, 8, 0, {"kl_coef": 0.04, "clip_low": 0.1}],
        "c": ["some/large", "generated_tokens=1000", 1e-6, 4, 0, {}],
    }
    assert (study.name, study.arms) == ("s-large", make_study().arms)


def test_the_command_line_lies_over_the_profile(large: str) -> None:
    study = override_study(make_study(), "1", ["lr=0.3", "algo.kl_coef=0.5"], "x", large)
    assert (study.name, study.seeds) == ("x", [0])
    assert [getattr(study.runs()[0].config("out"), name) for name in ("lr", "prompts", "algo")] == [
        0.3, 4, {"kl_coef": "0.5"},
    ]  # fmt: skip


def test_what_a_profile_sets_is_not_tuned(large: str) -> None:
    tune = {"seeds": [7, 8], "store": "other", "base": {"budget": "completions=32", "eval_limit": 5}}
    assert override_study(make_study(tune={**tune, "grid": {"lr": [0.1, 0.2]}}), None, [], None, large).tune is None
    both = override_study(
        make_study(tune={**tune, "grid": {"lr": [0.1, 0.2], "warmup": [1, 2]}}), None, [], None, large
    )
    assert both.tune is not None and (both.tune.grid, both.tune.store) == ({"warmup": [1, 2]}, None)
    config = both.trials()[0].config("out")
    assert (config.budget, config.lr, config.warmup, config.eval_limit) == ("generated_tokens=1000", 1e-6, 1, 5)


def test_a_task_of_its_own_takes_no_field_of_the_bases(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text('task = "gsm8k"\n')
    study = override_study(
        make_study(base={"task": {"name": "arithmetic", "test_size": 11}}), None, [], None, str(tmp_path / "t.toml")
    )
    config = study.runs()[0].config("out")
    assert (config.task_name, config.task) == ("gsm8k", {})


def test_the_record_keeps_the_profile(large: str) -> None:
    study = override_study(make_study(), None, [], None, large)
    again = parse(study.name, json.loads(json.dumps(study.as_dict())))
    assert again == study and again.profile is not None and again.profile.source == "a paper"


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ('algo = "grpo"\n', ["algo: ", "[algos.NAME]"]),
        ("seed = 3\n", ["seed: ", "the study's"]),
        ("[algos]\ngrpo = 3\n", ["algos.grpo: ", "table"]),
        ("lr = \n", ["not valid TOML"]),
    ],
)
def test_what_is_wrong_in_a_profile(text: str, fragments: list[str], tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text(text)
    message = refused(lambda: scale_profiles.load(str(file)))
    assert message.count(str(file)) == 1 and [f for f in fragments if f not in message] == []


def test_a_profile_nobody_knows() -> None:
    assert refused(lambda: scale_profiles.load("huge")).startswith(
        "profile: unknown profile 'huge'; valid: paper-1.3b, smollm2-8x, or"
    )


def test_a_wrong_field_of_a_profile_is_named(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("speed = 1\n")
    assert "speed: unknown field" in refused(
        lambda: override_study(make_study(), None, [], None, str(tmp_path / "p.toml"))
    )


@pytest.mark.parametrize("scale", [3, {"seed": 1}])
def test_what_is_wrong_in_a_scale(scale: Any) -> None:
    message = refused(lambda: make_study(arms={"a": {"scale": scale}}))
    assert message.startswith("arms.a.scale")


# ---------------------------------------------------------------- the paper's


@pytest.mark.parametrize("name", names())
def test_shipped_studies_take_the_papers_scale(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command can be typed; nothing is downloaded to say so."""
    typed, study = typist(monkeypatch), override_study(load(name), None, [], None, "paper-1.3b")
    assert study.tune is None
    for run in (run for run in study.runs() if run.seed == study.seeds[0]):
        config = run.config("out")
        scale = (config.model, config.task_name, config.lr, config.max_new_tokens, config.parsed_budget.unit)
        assert scale == ("deepseek-ai/deepseek-coder-1.3b-instruct", "gsm8k", 1e-6, 1024, "generated_tokens")
        same(typed(run.command("out")), config)


def test_the_papers_values() -> None:
    config = override_study(load("dsm_table5"), None, [], None, "paper-1.3b").runs()[0].config("out")
    assert (config.group_size, config.prompts * config.group_size, config.algo) == (64, 1024, {"kl_coef": 0.04})


# sizes of the model that the profile names; the test reads no file of its own
CODER = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 2048,
    "intermediate_size": 5504, "max_position_embeddings": 16384, "num_attention_heads": 16, "num_hidden_layers": 24,
    "num_key_value_heads": 16, "rms_norm_eps": 1e-6, "rope_theta": 100000, "tie_word_embeddings": False,
    "rope_scaling": {"factor": 4.0, "type": "linear"}, "vocab_size": 32256, "torch_dtype": "bfloat16",
}  # fmt: skip


@pytest.mark.parametrize("algo", ["grpo", "ppo"])
def test_the_papers_scale_is_planned_from_a_config_alone(algo: str, call: Call, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "config.json").write_text(json.dumps(CODER))
    words = ["plan", "--profile", "paper-1.3b", "--algo", algo, "--model", str(tmp_path), "--device", "cuda", "--json"]
    code, said, error = call(*words)
    assert (code, error) == (0, "")
    planned = json.loads(said)
    assert planned["known"] and planned["algo"] == algo and planned["cost"]["round_tokens"] == 1024 * 1024
    # 1.35 G parameters in 32 bits, their gradients, two moments; and no more than the profile says
    assert 16 * 1.34e9 < planned["peak_bytes"] < 80 * 2**30


def test_a_file_lies_over_the_profile_in_a_plan() -> None:
    config = resolve({"prompts": 3}, [], None, scale_profiles.load("paper-1.3b").of("grpo"))
    assert (config.prompts, config.group_size, config.algo) == (3, 64, {"kl_coef": 0.04})


# ---------------------------------------------------------------- arms that change nothing


@pytest.mark.parametrize(
    ("arms", "equal"),
    [
        ({"a": {"algo": "ppo"}, "b": {"algo": "ppo", "algo.gae_lambda": 1.0}}, True),  # the default, said aloud
        ({"a": {"lr": 2e-4}, "b": {}}, True),  # nano's own rate
        ({"a": {"algo": "ppo"}, "b": {"algo": "ppo", "algo.gae_lambda": 0.9}}, False),
        ({"a": {"seeds": [0]}, "b": {"seeds": [1]}}, False),  # one arm's seeds under two names: an A/A control
        ({"a": {"seeds": [0, 1]}, "b": {"seeds": [1, 2]}}, True),
    ],
)
def test_an_arm_that_changes_nothing(arms: dict[str, Any], equal: bool) -> None:
    study = parse("s", {"arms": copy.deepcopy(arms), "seeds": 2})
    if equal:
        message = refused(lambda: check_different(study))
        assert message == "arms.b: changes nothing: every field is as in arm 'a', and they share seeds"
    else:
        check_different(study)


def test_an_arm_that_runs_at_anothers_rate_is_another() -> None:
    arms = {"a": {}, "b": {"tuned_as": "c"}, "c": {"algo": "ppo"}}
    check_different(parse("s", {"arms": arms, "seeds": 2, "tune": {"grid": {"lr": [0.1, 0.2]}, "seeds": [7, 8]}}))
    assert "arms.b: changes nothing" in refused(lambda: check_different(parse("s", {"arms": arms, "seeds": 2})))


@pytest.mark.parametrize("name", names())
def test_every_arm_of_a_shipped_study_changes_something(name: str) -> None:
    check_different(load(name))
    assert all(resolve_experiment(run.config("out")).as_dict() for run in load(name).runs()[:1])


def test_the_command_says_so(call: Call, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "s.toml").write_text('seeds = 1\n[arms.a]\nalgo = "grpo"\n[arms.b]\nalgo.clip_low = 0.2\n')
    code, said, error = call("ablate", str(tmp_path / "s.toml"), "--dry-run")
    assert (code, said) == (2, "") and "arms.b: changes nothing" in one_line(error)
