"""Every algorithm solves a small bandit behind the same interface as a language model; so does one that is added."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import typing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

import algos
from algos import Algorithm, Credit, Rollouts
from algos.dpo import DPO
from algos.grpo import GRPO
from algos.online_rft import OnlineRFT
from algos.ppo import PPO
from algos.rft import RFT
from tests.algos import bandit
from tests.algos.test_ppo import RELATIVES as RELATIVES_OF_PPO
from tests.helpers import close

SOLVED = 0.9
START = (1 / 25 + 1 / 25 + 1 / 5) / 3  # one right pair of 25 in two contexts, one right arm of 5 in the third


def test_the_start_is_chance() -> None:
    close(bandit.BanditPolicy().expected_reward(), START)


def test_an_untouched_policy_agrees_with_its_sampler() -> None:
    policy = bandit.BanditPolicy()
    policy.logits_CTV.data.normal_(generator=torch.Generator().manual_seed(0))
    rollouts = bandit.sample(policy, bandit.BASE, torch.Generator().manual_seed(0))
    algo = GRPO()
    rollouts = policy.annotate(rollouts, algo.needs)
    [[first, second]] = bandit.updates(rollouts, algo.credit(rollouts), bandit.BASE)
    assert len(first.rollouts.group_N) + len(second.rollouts.group_N) == 96
    for batch in (first, second):
        close(policy.forward(batch, frozenset()).logp_NT, batch.rollouts.logp_NT)
    # The reward's mean is what the policy expects of itself, within 5 standard errors.
    assert abs(rollouts.reward_N.mean() - policy.expected_reward()) < 5 * (0.25 / 96) ** 0.5


@pytest.mark.parametrize("name", algos.names())
def test_every_algorithm_solves_the_bandit(name: str) -> None:
    assert bandit.train(algos.load(name)()).expected_reward() > SOLVED


@pytest.mark.parametrize("name", RELATIVES_OF_PPO)
def test_every_relative_of_ppo_solves_the_bandit(name: str) -> None:
    algo = PPO(**RELATIVES_OF_PPO[name])
    algo = replace(algo, critic_warmup=min(algo.critic_warmup, 5))  # of 80 rounds
    assert bandit.train(algo).expected_reward() > SOLVED


OTHERS = {
    "PPO with a shared critic": PPO(critic="shared"),
    "PPO with a target for its KL": PPO(kl_target=0.5, kl_horizon=1000),
    "PPO with several updates": PPO(epochs=2, minibatches=3),
    "RFT with copies": RFT(distinct=False),
    "RFT with a cap": RFT(max_per_prompt=2),
    "RFT with copies and a cap": RFT(distinct=False, max_per_prompt=2),
    "RAFT": OnlineRFT(max_positives=1),
    "DPO with other pairs": DPO(distinct=True, pairs=2, epochs=2),
    "DPO a token": DPO(loss_aggregation="sequence", beta=0.5),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_settings_solve_the_bandit(name: str) -> None:
    assert bandit.train(OTHERS[name]).expected_reward() > SOLVED


def test_while_the_critic_warms_up_the_policy_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandit, "ROUNDS", 5)
    policy = bandit.train(PPO(critic_warmup=5))
    close(policy.expected_reward(), START)
    assert policy.value_CTV.abs().max() > 0.01


def test_several_updates_a_round_solve_the_bandit() -> None:
    assert bandit.train(GRPO(epochs=2, minibatches=3)).expected_reward() > SOLVED


@dataclass(frozen=True, kw_only=True)
class Backwards(GRPO):
    """The control: what a flipped sign does."""

    def credit(self, rollouts: Rollouts) -> Credit:
        credit = super().credit(rollouts)
        return replace(credit, advantage_NT=-credit.advantage_NT)


def test_a_flipped_sign_does_not() -> None:
    assert bandit.train(Backwards()).expected_reward() < START


# --- adding an algorithm is adding a file --------------------------------------------------------------------

LEAVE_ONE_OUT = '''
from dataclasses import dataclass

import torch
from torch import Tensor

from algos import Algorithm, Batch, Credit, PolicyOutputs, Metrics, Rollouts
from algos.ops import advantages, aggregate


@dataclass(frozen=True, kw_only=True)
class LeaveOneOut(Algorithm):
    """REINFORCE against the mean of the others' rewards (2402.14740)."""

    loss_aggregation: aggregate.Aggregation = "sum"
    gain: float = 1.0

    def credit(self, rollouts: Rollouts) -> Credit:
        r = rollouts
        advantage_N = advantages.group_advantages(r.reward_N, r.group_N, r.valid_N, "leave_one_out", "none")
        return Credit(advantage_NT=torch.where(r.completion_mask_NT, advantage_N[:, None], 0), keep_N=r.valid_N)

    def loss(self, batch: Batch, fresh: PolicyOutputs) -> tuple[Tensor, Metrics]:
        objective_NT = self.gain * batch.credit.advantage_NT * fresh.logp_NT
        return -aggregate.mean(objective_NT, batch.rollouts.completion_mask_NT, batch.totals, self.loss_aggregation), {}
'''
FUTURE = "from __future__ import annotations\n"


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("header", ["", FUTURE], ids=["plain", "future annotations"])
def test_a_file_of_ones_own_solves_the_bandit(tmp_path: Path, header: str) -> None:
    cls = algos.load(write(tmp_path / "loo.py", header + LEAVE_ONE_OUT))
    assert cls.__name__ == "LeaveOneOut"
    assert bandit.train(cls()).expected_reward() > SOLVED


@pytest.mark.parametrize("header", ["", FUTURE], ids=["plain", "future annotations"])
def test_the_fields_of_a_file_of_ones_own_have_types(tmp_path: Path, header: str) -> None:
    """A setting is checked against its field's declared type."""
    cls = algos.load(write(tmp_path / "loo.py", header + LEAVE_ONE_OUT))
    hints = typing.get_type_hints(cls)
    assert hints["gain"] is float
    assert typing.get_args(hints["loss_aggregation"]) == ("sequence", "token", "sum", "horizon", "total")


def test_a_file_may_build_on_an_algorithm_that_ships(tmp_path: Path) -> None:
    text = (
        "from dataclasses import dataclass\nfrom algos.grpo import GRPO\n\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Mine(GRPO):\n    kl_coef: float = 0.0\n"
    )
    cls = algos.load(write(tmp_path / "mine.py", text))
    assert (cls.__name__, cls().needs) == ("Mine", frozenset())


def test_files_of_one_name_are_not_mixed_up(tmp_path: Path) -> None:
    for folder, average in (("a", "sum"), ("b", "token")):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "loo.py", LEAVE_ONE_OUT.replace('"sum"', f'"{average}"'))
    first, second = (algos.load(str(tmp_path / folder / "loo.py")) for folder in ("a", "b"))
    assert (first().loss_aggregation, second().loss_aggregation) == ("sum", "token")


def test_a_file_replaces_no_module(tmp_path: Path) -> None:
    algos.load(write(tmp_path / "json.py", LEAVE_ONE_OUT))
    assert sys.modules["json"] is json


def test_an_unknown_name_lists_the_valid_ones() -> None:
    with pytest.raises(ValueError, match="unknown algorithm 'grpoo'") as error:
        algos.load("grpoo")
    for name in [*algos.names(), "FILE.py"]:
        assert name in str(error.value)


@pytest.mark.parametrize("name", ["types", "algorithm", "policy", "ops", "variants", "__init__", "ops.kl", ""])
def test_what_is_not_an_algorithm_is_unknown(name: str) -> None:
    assert name not in algos.names()
    with pytest.raises(ValueError, match="unknown algorithm"):
        algos.load(name)


BROKEN = {
    "nothing": ("x = 1\n", "exactly one Algorithm, found 0"),
    "only an import": ("from algos.grpo import GRPO\n", "exactly one Algorithm, found 0"),
    "two": (LEAVE_ONE_OUT + LEAVE_ONE_OUT.replace("LeaveOneOut", "Other"), "exactly one Algorithm, found 2"),
    "raises": ("raise RuntimeError('no luck')\n", "cannot be imported: RuntimeError: no luck"),
    "no syntax": ("def f(:\n", "cannot be imported: SyntaxError"),
    "missing import": ("import no_such_module\n", "cannot be imported: ModuleNotFoundError.*no_such_module"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_says_which_and_why(tmp_path: Path, case: str) -> None:
    text, message = BROKEN[case]
    path = write(tmp_path / "broken.py", text)
    with pytest.raises(ValueError, match=message) as error:
        algos.load(path)
    assert path in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no file .*nowhere.py"):
        algos.load(str(tmp_path / "nowhere.py"))


@pytest.mark.parametrize("name", algos.names())
def test_an_algorithm_that_ships_is_a_frozen_dataclass_with_a_source(name: str) -> None:
    cls = algos.load(name)
    row = algos.preset_of(name)
    own = f"algos.{'variants.' * (row is not None)}{name}"
    assert cls.__module__ == ("algos.variants" if row and row.base else own)
    assert issubclass(cls, Algorithm)
    assert dataclasses.is_dataclass(cls)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(cls(), dataclasses.fields(cls)[0].name, None)
    text = row.source if row else sys.modules[cls.__module__].__doc__
    assert re.search(r"\d{4}\.\d{5}|MathForge", text or "")
