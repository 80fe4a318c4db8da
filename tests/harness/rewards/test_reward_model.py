"""Learned reward models: what they read, what they are taught, how they are loaded."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from algos import Rollouts
from evals.tasks import Problem, Task
from evals.verification.verifier import Verdict
from harness.accounting.budget import Budget, Spend
from harness.accounting.profiler import PhaseProfiler
from harness.config.rewards import RewardModelFields
from harness.models.loading import save_model
from harness.rewards.reward_model import RewardModel, from_policy, load, shift_right
from harness.rewards.reward_model_training import fit, held_out_quality, split_held_out
from harness.rewards.step_labels import LabelledCompletions, collect, concatenate, continuation_shares
from harness.rollout.collate import complete
from harness.rollout.prompts import PromptStream
from harness.rollout.sampler import Sampling
from harness.training.completions import RewardSampling
from tests.harness.tiny_models import KINDS, build, explored, letters, policy_of, prompts_of, real_rows, sampler_of
from tests.helpers import close


def judge_of(kind: str = "llama", micro_batch_tokens: int = 8192, seed: int = 3) -> RewardModel:
    policy = policy_of(kind)
    classifier = from_policy(policy.modules()["policy"])
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        classifier.score.weight.copy_(torch.randn(classifier.score.weight.shape, generator=generator))
    return RewardModel(classifier, policy.lm, nullcontext, micro_batch_tokens, torch.device("cpu"))


# --- reading ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_it_says_after_each_token_what_the_library_says_of_the_text_up_to_there(kind: str) -> None:
    model, r = judge_of(kind), explored(kind)
    logits_NT = model.logits(r)
    for i, (row, start) in enumerate(real_rows(r)):
        for t in range(len(row) - start):
            with torch.no_grad():
                said = model.classifier(input_ids=torch.tensor([row[: start + t + 1]])).logits[0, 0]
            close(logits_NT[i, t], said, rtol=1e-5, atol=1e-4 if kind == "gemma" else 2e-5)
    assert not logits_NT[~r.completion_mask_NT].any()


def test_how_it_is_cut_changes_nothing() -> None:
    r = explored("llama")
    close(judge_of(micro_batch_tokens=8)(r), judge_of(micro_batch_tokens=8192)(r), rtol=1e-5, atol=1e-6)


def test_one_token_further_keeps_the_rows_and_reads_nothing_new() -> None:
    r = explored("llama")
    f = shift_right(r)
    assert f.completion_mask_NT.sum() == r.completion_mask_NT.sum() and not f.completion_mask_NT[:, 0].any()
    assert torch.equal(f.completion_mask_NT[:, 1:], r.completion_mask_NT)
    prompt = r.tokens_NS.shape[1] - r.completion_mask_NT.shape[1]
    assert torch.equal(f.tokens_NS[:, :-1], r.tokens_NS)
    assert (
        torch.equal(f.attention_mask_NS.sum(1), r.attention_mask_NS.sum(1) + 1) and f.attention_mask_NS[:, prompt].all()
    )


def test_it_begins_by_saying_one_half_on_the_policys_own_trunk() -> None:
    policy = policy_of("llama")
    classifier = from_policy(policy.modules()["policy"])
    model = RewardModel(classifier, policy.lm, nullcontext, 8192, torch.device("cpu"))
    r = explored("llama")
    assert (model(r)[r.completion_mask_NT] == 0.5).all()
    for mine, theirs in zip(classifier.base_model.parameters(), policy.lm.module.parameters(), strict=True):
        assert torch.equal(mine, theirs) and mine.data_ptr() != theirs.data_ptr()


# --- loading ----------------------------------------------------------------------------------------------------


def saved(folder: Path, model: Any) -> str:
    save_model(model, letters(), folder)
    return str(folder)


def test_what_is_saved_loads_by_name_and_says_the_same(tmp_path: Path) -> None:
    model, r = judge_of(), explored("llama")
    name = saved(tmp_path / "rm", model.classifier)
    again = RewardModel(load(name, letters()), policy_of("llama").lm, nullcontext, 8192, torch.device("cpu"))
    close(again(r), model(r), rtol=0, atol=1e-6)


def test_what_is_no_reward_model_for_this_policy_is_refused_in_one_line(tmp_path: Path) -> None:
    causal = saved(tmp_path / "causal", build("llama"))
    with pytest.raises(ValueError, match=r"reward_model.name: '.*causal' has no head of its own \(score.weight\)"):
        load(causal, letters())
    classifier = AutoModelForSequenceClassification.from_config(_two_labels())
    with pytest.raises(ValueError, match="has 2 labels, where 1 is needed"):
        load(saved(tmp_path / "two", classifier), letters())
    other = copy.deepcopy(letters())
    other.add_tokens(["zz9"])
    with pytest.raises(ValueError, match="has another tokenizer than the policy"):
        load(saved(tmp_path / "rm", judge_of().classifier), other)
    with pytest.raises(ValueError, match="is not a folder with a config.json"):
        load(str(tmp_path / "nothing"), letters())


def _two_labels() -> Any:
    config = build("llama").config
    config.num_labels, config.pad_token_id = 2, 0
    return config


# --- labels -----------------------------------------------------------------------------------------------------


class Ending(Task):
    """Right where the last two letters are early in the alphabet; a step ends at every fourth letter."""

    name = "ending"

    def spec(self) -> dict[str, Any]:
        return {}

    def train(self, seed: int) -> list[Problem]:
        return [Problem(str(i), "", "") for i in range(8)]

    def eval_sets(self, limit: int | None = None) -> list[Any]:
        return []

    def verify(self, problem: Problem, completion: str, ended: bool) -> Verdict:
        outcome = "correct" if completion[-2:-1] < "k" else "wrong"
        return Verdict(outcome, outcome, None)  # type: ignore[arg-type]

    def step_ends(self, problem: Problem, completion: str) -> list[int]:
        return list(range(4, len(completion) - 1, 4))


LETTERS = letters()


class Sentences:
    """An encoder whose prompts are given."""

    tokenizer = LETTERS

    def render(self, prompt: str) -> str:
        return prompt

    def ids(self, rendered: str, name: str) -> list[int]:
        return prompts_of(8)[int(name)]


SAMPLING, PLENTY = Sampling(1.0, 10, seed=4), Budget("completions", 1000)


class Flops:
    @staticmethod
    def rollout(prompts: list[int], completions: list[list[int]]) -> float:
        return float(sum(prompts) + sum(map(sum, completions)))


def context_of(sampling: Sampling = SAMPLING, budget: Budget = PLENTY) -> RewardSampling:
    flops: Any = SimpleNamespace(policy=Flops)
    sentences: Any = Sentences()
    stream = PromptStream(Ending().train(0), 4)
    profiler = PhaseProfiler("cpu")
    return RewardSampling(sampler_of("llama"), sentences, sampling, stream, flops, budget, Spend(), profiler)


FIELDS = RewardModelFields(prompts=6, samples=3, continuations=5)


def test_an_outcome_is_the_verdict_at_the_last_token_and_all_is_charged() -> None:
    context = context_of()
    data = collect(context, "outcome", FIELDS, 0, Ending(), LETTERS)
    assert len(data) == 18 and data.where_NT.sum() == 18
    last_N1 = data.rollouts.completion_mask_NT.sum(1, keepdim=True) - 1
    assert data.where_NT.gather(1, last_N1).all()
    texts = _texts(data.rollouts)
    expected = [float(Ending().verify(None, t, True).strict == "correct") for t in texts]
    assert data.label_NT.gather(1, last_N1)[:, 0].tolist() == expected and 0 < sum(expected) < 18
    tokens = int(data.rollouts.completion_mask_NT.sum())
    assert (context.spend.prompts, context.spend.completions, context.spend.generated_tokens) == (6, 18, tokens)
    assert context.prompts == 6 and context.spend.verifier_calls == 18 and context.spend.updates == 0


def _texts(r: Rollouts) -> list[str]:
    rows = [
        row[mask].tolist()
        for row, mask in zip(r.tokens_NS[:, -r.completion_mask_NT.shape[1] :], r.completion_mask_NT, strict=True)
    ]
    return list(LETTERS.batch_decode(rows, skip_special_tokens=True))


def test_a_steps_label_is_the_share_of_continuations_that_are_right_prefix_by_prefix() -> None:
    context = context_of()
    prompts = prompts_of(3)
    rollouts, texts = complete(context.sampler, prompts, 2, context.sampling, [0, 1, 2])
    lengths = rollouts.completion_mask_NT.sum(1).tolist()
    at = [list(range(1, n - 1, 2)) for n in lengths]  # two tokens a step
    owners = [Problem(str(i), "", "") for i in range(6)]
    shares = continuation_shares(context, rollouts, owners, at, 5, Ending(), first=7)
    ordinal = 0
    for i, stops in enumerate(at):
        row = rollouts.tokens_NS[i, -rollouts.completion_mask_NT.shape[1] :].tolist()
        for j, t in enumerate(stops):
            prefix = prompts[i // 2] + row[: t + 1]
            sampling = replace(context.sampling, max_new_tokens=10 - t - 1, stream="reward model/continuations/7")
            done, _ = complete(context.sampler, [prefix], 5, sampling, [ordinal])
            whole = [LETTERS.decode(row[: t + 1]) + x for x in _texts(done)]
            right = [Ending().verify(owners[i], text, True).strict == "correct" for text in whole]
            assert shares[i][j] == sum(right) / 5
            ordinal += 1
    flat = [s for row in shares for s in row]
    assert ordinal == len(flat) > 5 and len(set(flat)) > 2, "labels that say something"
    assert texts


def test_a_step_with_no_token_left_to_go_on_has_no_share() -> None:
    context = context_of(Sampling(1.0, 4, seed=4))
    rollouts, _ = complete(context.sampler, prompts_of(1), 1, context.sampling, [0])
    assert continuation_shares(context, rollouts, [Problem("0", "", "")], [[3]], 5, Ending()) == [[0.0]]
    assert context.spend.completions == 0


class Doubtful(Ending):
    """A verifier that cannot judge texts that end with certain letters, or any at all."""

    def __init__(self, doubts: str = "abcdef") -> None:
        self.doubts = doubts

    def verify(self, problem: Problem, completion: str, ended: bool) -> Verdict:
        if completion[-2:-1] in self.doubts:
            return Verdict("verifier_error", "verifier_error", None)
        return super().verify(problem, completion, ended)


def test_what_could_not_be_judged_is_no_label_and_no_wrong_continuation() -> None:
    context, loose = context_of(), Doubtful()
    rollouts, _ = complete(context.sampler, prompts_of(3), 2, context.sampling, [0, 1, 2])
    at, owners = [[1]] * 6, [Problem(str(i), "", "") for i in range(6)]
    shares, plain = (continuation_shares(context, rollouts, owners, at, 8, task) for task in (loose, Ending()))
    for (share,), (whole,) in zip(shares, plain, strict=True):
        assert share != share or share <= whole  # right ones alone are doubted: fewer of them, of fewer
    assert shares != plain
    blind = Doubtful("abcdefghijklmnopqrstuvwxyz")
    assert all(share != share for (share,) in continuation_shares(context, rollouts, owners, at, 2, blind))
    assert len(collect(context, "process", FIELDS, 0, blind, LETTERS)) == 0


def test_what_the_budget_does_not_pay_for_is_refused_before_it_is_sampled() -> None:
    context = context_of(budget=Budget("completions", 60))
    with pytest.raises(
        ValueError, match=r"its 18 completions and \d+ continuations would take .* of a budget of 60 compl"
    ):
        collect(context, "process", FIELDS, 0, Ending(), LETTERS)
    assert context.spend.completions == 18
    short = context_of(budget=Budget("generated_tokens", 50))
    with pytest.raises(
        ValueError, match="would take .* of a budget of 50 generated_tokens; lower reward_model.prompts"
    ):
        collect(short, "outcome", FIELDS, 0, Ending(), LETTERS)


def test_process_labels_have_the_verdict_at_the_end() -> None:
    context = context_of()
    data = collect(context, "process", FIELDS, 0, Ending(), LETTERS)
    plain = context_of()
    outcome = collect(plain, "outcome", FIELDS, 0, Ending(), LETTERS)
    assert torch.equal(data.rollouts.tokens_NS, outcome.rollouts.tokens_NS)
    assert torch.equal(data.label_NT[outcome.where_NT], outcome.label_NT[outcome.where_NT])
    assert data.where_NT.sum() > outcome.where_NT.sum()
    assert ((data.label_NT >= 0) & (data.label_NT <= 1)).all() and not data.label_NT[~data.where_NT].any()


# --- fitting ----------------------------------------------------------------------------------------------------


def separable(seed: int = 0) -> LabelledCompletions:
    """Right where the first token of the completion is even."""
    sampling = Sampling(1.0, 6, seed=seed)
    rollouts, _ = complete(sampler_of("llama"), prompts_of(24, seed=seed), 4, sampling, list(range(24)))
    width = rollouts.completion_mask_NT.shape[1]
    where_NT = torch.arange(width) == rollouts.completion_mask_NT.sum(1, keepdim=True) - 1
    right_N = rollouts.tokens_NS[:, -width] % 2 == 0
    kept = Rollouts(
        rollouts.tokens_NS, rollouts.attention_mask_NS, rollouts.completion_mask_NT, rollouts.logp_NT, rollouts.group_N
    )
    return LabelledCompletions(kept, where_NT, torch.where(where_NT, right_N[:, None].float(), 0))


def test_it_learns_what_can_be_learned_and_is_measured_on_problems_it_has_not_seen() -> None:
    model, data = judge_of(), separable()
    train, held = split_held_out(data, 0.25)
    assert not set(train.rollouts.group_N.tolist()) & set(held.rollouts.group_N.tolist())
    assert len(held.rollouts.group_N.unique()) == 6 and len(train) + len(held) == len(data)
    before = held_out_quality(model, train)["outcome"]
    said = fit(model, train, RewardModelFields(epochs=20, lr=3e-3, batch=16), seed=0, turn=0)
    after = held_out_quality(model, train)["outcome"]
    assert said["updates"] == 20 * -(-len(train) // 16) and said["places"] == len(train)
    assert after["accuracy"] > 0.95 > before["accuracy"] and after["brier"] < before["brier"]
    assert not any(p.requires_grad for p in model.classifier.parameters())


def test_micro_batches_do_not_change_what_is_learned() -> None:
    fields, data = RewardModelFields(epochs=1, batch=32), separable()
    whole, cut = judge_of(micro_batch_tokens=8192), judge_of(micro_batch_tokens=40)
    close(fit(cut, data, fields, 0, 0)["loss"], fit(whole, data, fields, 0, 0)["loss"], rtol=1e-4)


def test_two_collections_stand_together_with_their_problems_apart() -> None:
    a, b = separable(0), separable(1)
    both = concatenate([a, b], 0)
    assert len(both) == len(a) + len(b) and len(both.rollouts.group_N.unique()) == 48
    assert both.where_NT.sum() == a.where_NT.sum() + b.where_NT.sum()
    last = both.rollouts.completion_mask_NT.sum(1, keepdim=True) - 1
    assert both.where_NT.gather(1, last).all()
    again = LabelledCompletions.from_tensors(both.tensors())
    assert torch.equal(again.label_NT, both.label_NT) and torch.equal(again.rollouts.tokens_NS, both.rollouts.tokens_NS)
