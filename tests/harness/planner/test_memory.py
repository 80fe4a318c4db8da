"""What is predicted against what is measured: real rounds of small models, phase by phase, every byte of every tensor.

The bound is the plan's promise: within a tenth.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

import algos
from algos import Rollouts, Schedule
from harness.accounting.budget import Budget, Spend
from harness.accounting.tensor_memory import measured
from harness.cli import main
from harness.config.coercion import build
from harness.config.rewards import RewardModelFields
from harness.config.run_config import RunConfig
from harness.models import limits
from harness.models.adapters.attach import attach
from harness.models.limits import bucket
from harness.models.loading import accelerator, silenced
from harness.models.microbatching import cut
from harness.models.optimizer import OptimizerSettings
from harness.models.policy import LMPolicy
from harness.planner import architecture, training_step
from harness.planner.activations import Numbers
from harness.planner.architecture import Architecture
from harness.planner.command import GIB, limit_of, plan_text, setting_of
from harness.planner.compute import cost_of, flops_of
from harness.planner.memory import Plan, Setting, decode, micro_batches_of, predict
from harness.planner.render import costs
from harness.planner.suggestions import all_together, each_alone, options, smallest_set
from harness.rewards.base import RewardSource
from harness.rewards.reward_model import RewardModel, from_policy
from harness.rewards.reward_model_training import fit
from harness.rewards.step_labels import LabelledCompletions
from harness.rollout.sampler import Completions, Sampler, Sampling
from harness.training.batching import updates
from harness.training.setup import flops_of as measured_flops
from harness.training.trainer import Trainer
from tests.harness.tiny_models import KINDS, letters, rollouts_of, shared
from tests.helpers import close


@pytest.fixture(scope="module", autouse=True)
def few_objects() -> Iterator[None]:
    """The ledger walks all objects that Python tracks: those that were there before these tests are left out."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


IDS = {"vocab_size": 300, "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
CONFIGS: dict[str, Any] = {
    "llama": LlamaConfig,
    "qwen2": Qwen2Config,
    "qwen3": Qwen3Config,
    "gemma": GemmaConfig,
    "mistral": MistralConfig,
}


@dataclass(frozen=True)
class Case:
    """A model and a round of it.  `algo`: its fields, `name` among them."""

    kind: str = "llama"
    vocabulary: int = 300
    hidden: int = 64
    layers: int = 3
    key_heads: int = 4
    inner: int = 192
    tied: bool = False
    name: str = "grpo"
    algo: dict[str, Any] = field(default_factory=dict)
    prompts: int = 4
    group: int = 4
    prompt: int = 16
    own: int = 16
    run: dict[str, Any] = field(default_factory=dict)

    def model_config(self) -> Any:
        ids = {**IDS, "vocab_size": self.vocabulary}
        if self.kind == "gpt2":
            return GPT2Config(**ids, n_embd=self.hidden, n_layer=self.layers, n_head=4, n_positions=256)
        sizes = {
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": 4,
            "num_key_value_heads": self.key_heads,
            "intermediate_size": self.inner,
            "max_position_embeddings": 256,
            "tie_word_embeddings": self.tied,
            **({"head_dim": self.hidden // 4} if self.kind in ("qwen3", "gemma") else {}),
        }
        return CONFIGS[self.kind](**ids, **sizes)

    def setting(self, device: str = "cpu") -> Setting:
        algo = build(algos.load(self.name), self.algo, "algo.")
        schedule = algo.schedule(Schedule(prompts=self.prompts, group_size=self.group))
        sizes = {"prompts": self.prompts, "group_size": self.group, "max_new_tokens": self.own}
        config = build(RunConfig, {"rollout_batch_size": 64, **sizes, **self.run}, "")
        return Setting(config, Architecture.of(self.model_config().to_dict()), algo, schedule, device, self.prompt)


def trainer_of(case: Case) -> Trainer:
    """A run's own policy, sampler and update, on random weights; no completion ends before its limit."""
    torch.manual_seed(0)
    s = case.setting()
    with silenced():
        model = AutoModelForCausalLM.from_config(case.model_config()).eval()
    adapters = attach(model, s.lora, 0, s.schedule.critic == "separate") if s.lora else None
    policy = LMPolicy(
        model,
        accelerator("cpu", s.config.dtype),
        OptimizerSettings(1e-4),
        s.config.temperature,
        "reference" in s.algo.needs,
        s.config.micro_batch_tokens,
        s.schedule.critic,
        gradient_checkpointing=s.config.gradient_checkpointing,
        adapters=adapters,
    )
    head = policy.critic if s.schedule.critic == "shared" else None
    sampler = Sampler(policy.lm.model, letters(), s.config.rollout_batch_size, policy.accelerator.autocast, head)
    sampler.ends = [-1]
    unused: Any = None
    return Trainer(
        algo=s.algo,
        schedule=s.schedule,
        policy=policy,
        sampler=sampler,
        tokenizer=unused,
        task=unused,
        completions=unused,
        reward_source=unused,
        reward_sampling=unused,
        prompt_stream=unused,
        sampling=Sampling(s.config.temperature, case.own),
        budget=Budget("updates", 9),
        round_sizer=unused,
        flops=measured_flops(policy, RewardSource(), "reference" in s.algo.needs),
        profiler=unused,
        micro_batch_tokens=s.config.micro_batch_tokens,
        spend=Spend(),
        checks={},
    )


def round_of(trainer: Trainer, case: Case) -> dict[str, int]:
    """One round; the peak of each of its phases."""
    prompts = torch.randint(40, 300, (case.prompts, case.prompt)).tolist()
    found = {}
    with measured() as ledger:
        done = trainer.sampler(prompts, case.group, trainer.sampling)
        rollouts = rollouts_of(prompts, case.group, done)
        rollouts = replace(rollouts, reward_N=1 + torch.rand(len(rollouts.group_N)), value_NT=done.value_NT)
    found["rollout"] = ledger.peak
    with measured() as ledger:
        known = set() if done.value_NT is None else {"values"}
        if trainer.schedule.source == "dataset":  # what was not sampled is read once
            rollouts = replace(rollouts, logp_NT=trainer.policy.score(rollouts))
        rollouts = trainer.policy.annotate(rollouts, trainer.algo.needs - known)
    found["annotate"] = ledger.peak
    credit = trainer.algo.credit(rollouts)
    with measured() as ledger:
        parts = updates(rollouts, credit, trainer.schedule, case.own, trainer.micro_batch_tokens, 0, 0)
        trainer.update(parts, on_policy=False)
    found["update"] = ledger.peak
    return found


def peaks_of(case: Case) -> dict[str, int]:
    """Of a later round: an empty step has made the optimiser's moments."""
    trainer = trainer_of(case)
    trainer.policy.step()
    return round_of(trainer, case)


BF16 = {"dtype": "bfloat16"}
LORA = {"lora": {"r": 8}}
SMALL, CHECKPOINTED = {"micro_batch_tokens": 120}, {"gradient_checkpointing": True}
CASES = {
    "llama": Case(),
    "llama, no KL, long prompts": Case(algo={"kl_coef": 0}, prompt=100, own=12, group=8),
    "llama, small micro-batches": Case(run=SMALL),
    "llama, checkpointed": Case(layers=4, inner=256, run=CHECKPOINTED),
    "llama, many words": Case(vocabulary=20_000, layers=2, own=10, run={"temperature": 0.8}),
    "llama, weights before tokens": Case(hidden=128, inner=512, prompts=2, group=2, prompt=8, own=6, run=SMALL),
    "qwen2, tied, many words, small": Case(
        "qwen2", vocabulary=20_000, layers=2, key_heads=2, tied=True, own=8, run=SMALL
    ),
    "qwen2, checkpointed, small": Case("qwen2", key_heads=2, run={**CHECKPOINTED, **SMALL}),
    "gpt2, checkpointed": Case("gpt2", name="online_rft", run=CHECKPOINTED),
    "gpt2": Case("gpt2", hidden=128, layers=2, run={"micro_batch_tokens": 300}),
    "qwen3": Case("qwen3", key_heads=2, algo={"entropy_coef": 0.01}),
    "gemma": Case("gemma", key_heads=1, tied=True),
    "mistral, long completions": Case("mistral", key_heads=2, own=60, run={"micro_batch_tokens": 300}),
    "PPO, a critic of its own": Case(name="ppo"),
    "PPO, its own, many words, small": Case(name="ppo", vocabulary=20_000, layers=2, own=8, run=SMALL),
    "PPO, shared": Case("qwen2", key_heads=2, name="ppo", algo={"critic": "shared", "kl_coef": 0}),
    "PPO, its own, checkpointed": Case("gpt2", name="ppo", run=CHECKPOINTED),
    "online RFT": Case("qwen2", tied=True, name="online_rft"),
    "SFT": Case(name="sft", group=1, prompts=12),
    "bf16 SFT, many words": Case("qwen2", name="sft", group=1, vocabulary=20_000, layers=2, own=8, run=BF16),
    "bf16 llama": Case(run=BF16),
    "bf16 qwen2, small, checkpointed": Case("qwen2", key_heads=2, tied=True, run={**BF16, **SMALL, **CHECKPOINTED}),
    "bf16 gpt2": Case("gpt2", run=BF16),
    "bf16 PPO, weights before tokens": Case(
        name="ppo", hidden=128, layers=6, inner=512, prompts=2, group=2, prompt=8, own=8, run={**BF16, **CHECKPOINTED}
    ),
    "LoRA": Case(run=LORA),
    "LoRA, weights before tokens": Case(
        hidden=128, inner=512, layers=6, prompts=2, group=2, prompt=8, own=6, run={**LORA, **SMALL}
    ),
    "LoRA, checkpointed, many words": Case("qwen2", vocabulary=20_000, own=10, tied=True, run={**LORA, **CHECKPOINTED}),
    "LoRA on two layers": Case("qwen2", key_heads=2, run={"lora": {"r": 4, "target": "q_proj+v_proj"}}),
    "LoRA, gpt2": Case("gpt2", hidden=128, layers=2, run=LORA),
    "LoRA, PPO, a critic of its own": Case(name="ppo", run=LORA),
    "LoRA, PPO, shared": Case("qwen2", name="ppo", algo={"critic": "shared", "kl_coef": 0}, run=LORA),
    "DoRA": Case(run={"lora": {"r": 4, "dora": True}}),
    "bf16 LoRA": Case(run={**BF16, **LORA}),
    "bf16 PPO, many words": Case(name="ppo", vocabulary=20_000, layers=2, own=8, run={**BF16, **SMALL}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_tenth(name: str) -> None:
    """Each phase and the run's peak."""
    case = CASES[name]
    plan, found = predict(case.setting()), peaks_of(case)
    ratios = {phase.name: phase.bytes / found[phase.name] for phase in plan.phases}
    assert all(0.9 <= ratio <= 1.1 for ratio in ratios.values()), ratios
    assert 0.9 <= plan.peak / max(found[phase.name] for phase in plan.phases) <= 1.1


def judged_peaks(case: Case, batch: int) -> dict[str, int]:
    """Of a reward model's training, and of its reading of a round, on random completions of full length."""
    trainer = trainer_of(case)
    policy = trainer.policy
    classifier = from_policy(policy.modules()["policy"]).requires_grad_(False)
    model = RewardModel(classifier, policy.lm, policy.accelerator.autocast, trainer.micro_batch_tokens, policy.device)
    prompts = torch.randint(40, 300, (case.prompts, case.prompt)).tolist()
    r = rollouts_of(prompts, case.group, trainer.sampler(prompts, case.group, trainer.sampling))
    last_NT = torch.arange(case.own) == case.own - 1
    plain = Rollouts(r.tokens_NS, r.attention_mask_NS, r.completion_mask_NT, r.logp_NT, torch.arange(len(r.group_N)))
    data = LabelledCompletions(plain, last_NT.expand_as(r.completion_mask_NT), torch.zeros_like(r.logp_NT))
    with measured() as training:
        fit(model, data, RewardModelFields(epochs=1, batch=batch), 0, 0)
    policy.step()  # a later round: the policy's optimiser has its moments
    with measured() as ledger:
        model(r)
    return {"reward_model": training.peak, "reward": ledger.peak}


JUDGED = {"reward": "outcome-model", "reward_model": {"batch": 8}}


@pytest.mark.parametrize(
    "case",
    [
        Case(algo={"kl_coef": 0}, run=JUDGED),
        Case(algo={"kl_coef": 0}, run={**JUDGED, **SMALL}),
        Case("qwen2", key_heads=2, tied=True, algo={"kl_coef": 0}, run={**JUDGED, **BF16}),
    ],
    ids=["llama", "llama, small", "bf16 qwen2"],
)
def test_a_reward_model_within_a_tenth(case: Case) -> None:
    plan, found = predict(case.setting()), judged_peaks(case, 8)
    phases = {phase.name: phase for phase in plan.phases}
    assert [phase.name for phase in plan.phases] == ["reward_model", "rollout", "reward", "update"]
    ratios = {name: phases[name].bytes / peak for name, peak in found.items()}
    assert all(0.9 <= ratio <= 1.1 for ratio in ratios.values()), ratios
    whole = Architecture.of(case.model_config().to_dict())
    assert phases["update"].parts["reward_model"] == 4 * (whole.backbone + whole.hidden)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_logits_in_pieces(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOGIT_BYTES", 2**21)
    case = Case("qwen2", vocabulary=20_000, layers=2, tied=True, own=10, run={"dtype": dtype, **SMALL})
    plan, found = predict(case.setting()), peaks_of(case)
    assert 0.9 <= plan.phases[-1].bytes / found["update"] <= 1.1


def test_the_parts_that_live_are_counted_as_the_policy_counts_them() -> None:
    for run in ({}, BF16):
        case = Case("qwen2", key_heads=2, tied=True, name="ppo", own=6, run=run)
        trainer = trainer_of(case)
        round_of(trainer, case)
        counted, parts = trainer.policy.memory_parts(), predict(case.setting()).phases[-1].parts
        assert {part: parts[part] for part in ("policy", "reference", "critic")} == {
            part: counted[part] for part in ("policy", "reference", "critic")
        }
        assert trainer.sampler.engine.half_precision_bytes == parts["rollout_weights"]
        assert 0 <= counted["optimizer"] - 2 * counted["gradients"] < 1000  # two moments, and counts of steps
        assert trainer.sampler.peak_cache_bytes == decode(case.setting()).cache


def test_the_update_peaks_where_it_is_said_to() -> None:
    """Few tokens and many weights: in the optimiser's step, and there nothing is estimated."""
    case = Case(hidden=128, inner=512, prompts=1, group=2, prompt=2, own=2, algo={"kl_coef": 0})
    plan = predict(case.setting())
    parameters = Architecture.of(case.model_config().to_dict()).parameters
    assert (plan.worst.name, plan.worst.moment) == ("update", "step")
    close(plan.peak - plan.worst.parts["rollouts"], 16 * parameters + 3 * 4 * 128 * 512)


LEVERS = {
    "gradient_checkpointing": (Case(layers=4, inner=256), {"run": CHECKPOINTED}, "update"),
    "algo.critic": (Case(name="ppo", layers=4, inner=256), {"algo": {"critic": "shared"}}, "update"),
    "micro_batch_tokens": (
        Case(prompts=8, run={"micro_batch_tokens": 200}),
        {"run": {"micro_batch_tokens": 100}},
        "update",
    ),
    "rollout_batch_size": (
        Case(prompts=8, own=32, run={"rollout_batch_size": 32}),
        {"run": {"rollout_batch_size": 16}},
        "rollout",
    ),
}


@pytest.mark.parametrize("name", LEVERS)
def test_a_lever_saves_what_it_is_said_to(name: str) -> None:
    """Of its phase, within a fifth, and it is among those that the plan offers."""
    case, changes, phase = LEVERS[name]
    other = replace(case, **changes)
    assert name in {words[0][0] for words in options(case.setting())}
    before, after = (next(p.bytes for p in predict(c.setting()).phases if p.name == phase) for c in (case, other))
    saved = peaks_of(case)[phase] - peaks_of(other)[phase]
    assert saved > 0 and 0.8 <= (before - after) / saved <= 1.2


def config_of(sizes: str, **more: Any) -> dict[str, Any]:
    """The published sizes of a Qwen2.5, as its config.json names them."""
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    table = dict(zip(names, map(int, sizes.split()), strict=True))
    shape = {"model_type": "qwen2", "vocab_size": 151_936, "tie_word_embeddings": True, "use_sliding_window": False}
    return {**shape, "sliding_window": 32_768, "max_position_embeddings": 32_768, **table, **more}


QWEN = {
    494_032_768: config_of("896 4864 24 14 2"),
    1_543_714_304: config_of("1536 8960 28 12 2"),
    7_615_616_512: config_of("3584 18944 28 28 4", vocab_size=152_064, tie_word_embeddings=False),
}


@pytest.mark.parametrize("parameters", QWEN)
def test_published_parameter_counts(parameters: int) -> None:
    found = Architecture.of(QWEN[parameters])
    assert found.parameters == parameters and found.known and found.plain


@pytest.mark.parametrize("kind", [*KINDS, "llama_tied"])
def test_parameters_are_counted_from_the_configuration(kind: str) -> None:
    model = shared(kind)
    assert Architecture.of(model.config.to_dict()).parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", ["ppo", "grpo"])
@pytest.mark.parametrize("changes", [{}, {"tied": True, "kind": "qwen2"}, {"kind": "gpt2"}])
def test_flops_are_those_of_the_models(name: str, changes: dict[str, Any]) -> None:
    for algo in ({}, {"critic": "shared"}) if name == "ppo" else ({},):
        case = Case(name=name, algo=algo, **changes)
        assert flops_of(case.setting()) == trainer_of(case).flops


def test_a_round_and_a_budget() -> None:
    """Of 8 completions a round; PPO's first round trains the critic alone."""
    case = Case(prompts=2, group=4, own=10, run={"budget": "completions=80"})
    cost = cost_of(case.setting())
    assert (cost.round_tokens, cost.round_trained, cost.rounds) == (80, 80, 10)
    close(cost.flops, 10 * cost.round_flops)
    by_flops = cost_of(replace(case, run={"budget": f"flops={3 * cost.round_flops}"}).setting())
    close([by_flops.rounds, by_flops.flops], [3, 3 * cost.round_flops])
    ppo = cost_of(replace(case, name="ppo").setting())
    assert ppo.flops is not None and ppo.rounds == 10 and 9 * ppo.round_flops < ppo.flops < 10 * ppo.round_flops
    assert cost_of(replace(case, run={"budget": "device_seconds=9", "out": "nowhere"}).setting()).rounds is None


def test_offline_training_comes_after_sampling() -> None:
    case = Case(name="rft", prompts=2, group=4, own=10, run={"budget": "completions=80"})
    cost, live = cost_of(case.setting()), cost_of(replace(case, name="online_rft").setting())
    assert cost.rounds == 10 and cost.flops is not None and cost.round_flops < live.round_flops
    both = cost_of(replace(case, run={"budget": "flops=1e12"}).setting())
    close(both.flops, 1e12)


def test_what_is_written_costs_no_rollout() -> None:
    """One completion a prompt, three forwards of it, and no phase in which anything is sampled."""
    case = Case(name="sft", prompts=2, group=4, own=10, run={"budget": "completions=80"})
    cost, setting = cost_of(case.setting()), case.setting()
    assert (cost.round_tokens, cost.round_trained, cost.rounds) == (0, 20, 40)
    close(cost.round_flops, flops_of(setting).update([26, 26]))
    close(cost.flops, 40 * cost.round_flops)
    assert [phase.name for phase in predict(setting).phases] == ["annotate", "update"]
    assert all(phase.parts["kv_cache"] == 0 for phase in predict(case.setting("cuda")).phases)
    assert "0 tokens generated, 20 trained" in "\n".join(costs(predict(setting), cost))


def test_a_finished_run_tells_the_rate(tmp_path: Path) -> None:
    record = {
        "config": {"model": "nano"},
        "status": "finished",
        "environment": {"device": "cpu"},
        "spend": {"flops": 4e9, "device_seconds": 2.0},
        **{"algo": "grpo", "seed": 0, "budget": {}, "evals": []},
    }
    (tmp_path / "a").mkdir()
    (tmp_path / "a/record.json").write_text(json.dumps(record))
    (tmp_path / "b").mkdir()
    (tmp_path / "b/record.json").write_text(json.dumps({**record, "status": "failed", "spend": {}}))
    case = Case(run={"model": "nano", "out": str(tmp_path)})
    cost = cost_of(case.setting())
    assert cost.rate == 2e9 and cost.flops is not None and cost.source == str(tmp_path / "a")
    close(cost.seconds, cost.flops / 2e9)
    assert cost_of(case.setting("cuda")).rate is None


def big(**changes: Any) -> Plan:
    """A critic of its own beside 0.5 B parameters, on CUDA."""
    return predict(setting_of(build(RunConfig, {"max_new_tokens": 1024, **changes}, ""), 128))


@pytest.fixture
def published(tmp_path: Path) -> Path:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(QWEN[494_032_768]))
    return file


def test_the_smallest_set_of_levers_that_fits(published: Path) -> None:
    plan = big(model=str(published), algo_name="ppo", device="cuda")
    limit = plan.peak - max(suggestion.saved for suggestion in each_alone(plan))
    found = smallest_set(plan, limit)
    assert found is not None and len(found.words) == 1 and plan.peak - found.saved <= limit
    two = smallest_set(plan, limit - 1)
    assert two is None or predict(two.setting).peak <= limit - 1
    for suggestion in each_alone(plan):
        close(predict(suggestion.setting).peak, plan.peak - suggestion.saved)
    most = all_together(plan)
    assert (
        smallest_set(plan, 2**30) is None and most is not None and most.saved > max(x.saved for x in each_alone(plan))
    )


def test_levers_of_a_device(published: Path) -> None:
    """A parked reference leaves all phases but one; 8-bit moments are 2 bytes and an 8-byte scale for each 256."""
    plan = big(model=str(published), device="cuda")
    names = [words[0][0] for words in options(plan.setting)]
    assert names == [
        "rollout_batch_size",
        "micro_batch_tokens",
        "gradient_checkpointing",
        "reference_device",
        "optimizer",
    ]
    parked = big(model=str(published), device="cuda", reference_device="cpu")
    reference = [phase.parts["reference"] for phase in parked.phases]
    assert reference[0] == reference[2] == 0 < reference[1] == plan.phases[0].parts["reference"]
    narrow = big(model=str(published), device="cuda", optimizer="adamw8bit")
    close(narrow.phases[0].parts["optimizer"], 494_032_768 * (2 + 8 / 256))
    assert plan.phases[0].parts["optimizer"] == 8 * 494_032_768
    here = big(model=str(published), device="cpu", optimizer="adamw8bit", gradient_checkpointing=True)
    assert {words[0][0] for words in options(here.setting)} == {"rollout_batch_size", "micro_batch_tokens"}


def test_a_static_cache_by_hand(published: Path) -> None:
    """256 rows of 1024 columns and 16 prompts of 128, 24 layers, 2 key heads of 64, in bf16."""
    held = (256 * 1024 + 16 * 128) * 24 * 128 * (2 + 2)
    plan = big(model=str(published), device="cuda")
    assert [phase.parts["kv_cache"] for phase in plan.phases] == [held] * 3
    assert [bucket(n) for n in (1, 3, 5, 7, 9, 33, 100, 256)] == [1, 3, 6, 8, 12, 48, 128, 256]


@pytest.mark.parametrize(("varlen", "bytes_at_once"), [(False, limits.LOGIT_BYTES), (True, limits.VARLEN_LOGIT_BYTES)])
def test_logits_in_pieces_are_those_of_the_output_head(varlen: bool, bytes_at_once: int) -> None:
    architecture = Case("qwen2", vocabulary=151_936).setting().architecture
    rows = bytes_at_once // (4 * 151_936)
    assert training_step.pieces(architecture, Numbers(4, 2, varlen=varlen), 10_000) == (rows, True)


@pytest.mark.parametrize("limit", [1, 60, 200, 5000])
def test_shares_are_those_of_the_update(limit: int) -> None:
    groups, size, prompt, own = 3, 4, 16, 9
    prompts = [[7] * prompt] * groups
    ones = torch.ones(groups * size, own)
    done = Completions(ones.long(), ones, ones, torch.full((groups * size,), own), ones[:, 0].bool())
    r = rollouts_of(prompts, size, done)
    found = [(len(set((part // size).tolist())), len(part)) for part in cut(r, torch.arange(len(ones)), limit)]
    assert found[::-1] == micro_batches_of(groups, size, prompt, own, limit)


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "odd.json").write_text(json.dumps({**QWEN[494_032_768], "num_key_value_heads": "two"}))
    (tmp_path / "bare.json").write_text('{"model_type": "llama"}')
    for name, said in (
        ("empty", "has no config.json"),
        ("bad.json", "is not a config.json"),
        ("list.json", "holds no table"),
        ("bare.json", "has no hidden_size"),
        ("odd.json", "num_key_value_heads in its config.json must be a positive whole number, not 'two'"),
        ("nowhere.json", "has no config.json"),
    ):
        with pytest.raises(ValueError, match=said):
            architecture.read(str(tmp_path / name))


def test_bad_words() -> None:
    config = build(RunConfig, {"max_new_tokens": 8}, "")
    with pytest.raises(ValueError, match="prompt_tokens: must be at least 1, not 0"):
        setting_of(config, 0)
    with pytest.raises(ValueError, match="more than the 256 positions of 'nano'"):
        setting_of(config, 250)
    with pytest.raises(ValueError, match="device: 'tpu' is not supported"):
        setting_of(replace(config, device="tpu"), 8)
    with pytest.raises(ValueError, match="limit_gib: must be positive"):
        limit_of(-1, "cpu")
    assert limit_of(2, "cpu") == 2 * GIB and limit_of(None, "cpu") is None


def test_an_architecture_that_is_not_known_is_said_so(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**QWEN[494_032_768], "model_type": "mamba9"}))
    config = build(RunConfig, {"model": str(file), "device": "cpu"}, "")
    assert "'mamba9' is not a known architecture" in plan_text(config, 128, None, False)
    assert not Architecture.of({**QWEN[494_032_768], "num_experts": 8}).known


def test_what_is_printed(published: Path) -> None:
    config = build(RunConfig, {"model": str(published), "device": "cuda", "algo_name": "ppo", "out": "nowhere"}, "")
    text = plan_text(config, 128, 8.0, False)
    for line in (
        "494 M parameters",
        "part ",
        "value model",
        "peak at",
        "peak ",
        "per round: ",
        "does not fit in 8.0 GiB",
    ):
        assert line in text
    assert "--set gradient_checkpointing=true  saves" in text
    assert "fits in 500 GiB" in plan_text(config, 128, 500.0, False)
    table = json.loads(plan_text(config, 128, 8.0, True))
    assert table["peak_bytes"] == max(phase["bytes"] for phase in table["phases"].values())
    assert table["fits"] is False and table["levers"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--algo", "nope"], 2, "error: algo: unknown algorithm 'nope'"),
        (["--model", "/nowhere"], 2, "error: model: /nowhere has no config.json"),
        (["--limit-gib", "-3"], 2, "error: limit_gib: must be positive and finite, not -3.0"),
        (["--algo", "ppo", "--limit-gib", "80", "--device", "cpu"], 0, "fits in 80.0 GiB"),
    ],
)
def test_the_command(
    words: list[str], code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["harness", "plan", "--no-measure", *words])
    with pytest.raises(SystemExit) as stop:
        main.main()
    out, error = capsys.readouterr()
    assert int(stop.value.code or 0) == code and said in (error if code else out)
    assert code == 0 or error.count("\n") == 1


def test_a_model_of_several_parts_is_not_known() -> None:
    """Its language model is planned for, and that this is not all of it is said."""
    table = QWEN[494_032_768]
    found = Architecture.of({"model_type": "qwen_vision", "text_config": table})
    assert (found.layers, found.hidden, found.tied, found.known) == (24, 896, True, False)
