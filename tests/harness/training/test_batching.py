"""How a round becomes updates, and an update micro-batches."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from algos.core.types import Batch, Credit, Rollouts, Schedule
from harness.training.batching import trim, updates

PAD = 0


def varlen(
    groups: int = 5, size: int = 4, seed: int = 0, prompt: int = 30, tokens: int = 25
) -> tuple[Rollouts, Credit]:
    """Rows whose prompt and completion tokens are 1000 * row + position: they tell where they come from.

    Rewards number the rows; log-probabilities and advantages number the tokens.
    """
    rng = np.random.default_rng(seed)
    n = groups * size
    before = np.repeat(rng.integers(1, prompt + 1, groups), size)
    after = rng.integers(1, tokens + 1, n)
    tokens_NS = torch.full((n, prompt + tokens), PAD)
    attention_mask_NS = torch.zeros(n, prompt + tokens).bool()
    number_NT = torch.zeros(n, tokens)
    for i, (p, c) in enumerate(zip(before, after, strict=True)):
        tokens_NS[i, prompt - p : prompt + c] = 1000 * (i + 1) + torch.arange(p + c)
        attention_mask_NS[i, prompt - p : prompt + c] = True
        number_NT[i, :c] = 1000 * (i + 1) + torch.arange(c)
    rollouts = Rollouts(
        tokens_NS=tokens_NS,
        attention_mask_NS=attention_mask_NS,
        completion_mask_NT=attention_mask_NS[:, prompt:],
        logp_NT=-number_NT,
        group_N=torch.arange(n) // size,
        reward_N=torch.arange(n).float(),
        ref_logp_NT=-2 * number_NT,
    )
    return rollouts, Credit(advantage_NT=number_NT, keep_N=torch.from_numpy(rng.random(n) < 0.8))


def cut(
    rollouts: Rollouts, credit: Credit, micro_batch_tokens: int = 200, seed: int = 0, ordinal: int = 0, **schedule: int
) -> list[list[Batch]]:
    plan = Schedule(prompts=int(rollouts.group_N.max()) + 1, group_size=4, **schedule)
    return list(updates(rollouts, credit, plan, 64, micro_batch_tokens, seed, ordinal))


def rows_of(update: list[Batch]) -> list[int]:
    return [int(x) for batch in update for x in batch.rollouts.reward_N]  # type: ignore[union-attr]


def groups_of(update: list[Batch]) -> set[int]:
    return {int(x) for batch in update for x in batch.rollouts.group_N}


SCHEDULES = [(1, 1), (1, 2), (2, 1), (3, 4), (1, 5), (2, 9)]


@pytest.mark.parametrize(("epochs", "minibatches"), SCHEDULES)
@pytest.mark.parametrize("micro_batch_tokens", [1, 100, 10**6])
def test_every_kept_row_once_an_epoch_and_no_other(epochs: int, minibatches: int, micro_batch_tokens: int) -> None:
    rollouts, credit = varlen()
    found = cut(rollouts, credit, micro_batch_tokens, epochs=epochs, minibatches=minibatches)
    assert len(found) == epochs * minibatches
    kept = credit.keep_N.nonzero()[:, 0].tolist()
    assert 0 < len(kept) < len(credit.keep_N)
    for epoch in range(epochs):
        part = found[epoch * minibatches : (epoch + 1) * minibatches]
        real = [b for update in part for b in update if b.totals.sequences]
        assert sorted(rows_of(real)) == kept


@pytest.mark.parametrize(("epochs", "minibatches"), SCHEDULES)
def test_totals_are_of_the_whole_update(epochs: int, minibatches: int) -> None:
    rollouts, credit = varlen()
    lengths = rollouts.completion_mask_NT.sum(1).tolist()
    for update in cut(rollouts, credit, epochs=epochs, minibatches=minibatches):
        totals = update[0].totals
        assert all(b.totals == totals for b in update) and totals.max_completion_tokens == 64
        if totals.sequences:
            assert totals.sequences == len(rows_of(update))
            assert totals.tokens == sum(lengths[i] for i in rows_of(update))
            assert sum(int(b.rollouts.completion_mask_NT.sum()) for b in update) == totals.tokens
        else:
            assert totals.tokens == 0


@pytest.mark.parametrize("minibatches", [2, 3, 5])
def test_minibatches_keep_groups_whole(minibatches: int) -> None:
    rollouts, credit = varlen()
    shares = [groups_of(update) for update in cut(rollouts, credit, minibatches=minibatches)]
    assert set().union(*shares) == set(range(5))
    assert all(not one & two for one, two in itertools.combinations(shares, 2))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_the_order_depends_on_seed_ordinal_and_epoch_alone() -> None:
    rollouts, credit = varlen(groups=12)

    def order(seed: int, ordinal: int, micro_batch_tokens: int = 200) -> list[list[int]]:
        found = cut(rollouts, credit, micro_batch_tokens, seed, ordinal, epochs=2, minibatches=4)
        return [sorted(groups_of(u)) for u in found]

    base = order(0, 0)
    assert order(0, 0) == base == order(0, 0, micro_batch_tokens=10**6)
    assert base[:4] != base[4:], "every epoch deals the groups out alike"
    assert order(1, 0) != base and order(0, 12) != base
    again = cut(rollouts, credit, 200, epochs=2, minibatches=4), cut(rollouts, credit, 200, epochs=2, minibatches=4)
    for one, two in zip(*again, strict=True):
        assert [rows_of([b]) for b in one] == [rows_of([b]) for b in two]


@pytest.mark.parametrize("micro_batch_tokens", [30, 60, 150, 400, 1000])
@pytest.mark.parametrize("seed", range(5))
def test_a_micro_batch_holds_no_more_tokens_than_asked(micro_batch_tokens: int, seed: int) -> None:
    """... unless it is a single row.  A prompt counts once, a completion without its last token."""
    rollouts, credit = varlen(groups=8, seed=seed)
    (update,) = cut(rollouts, credit, micro_batch_tokens)
    several = []
    for r in (batch.rollouts for batch in update if len(batch.rollouts.group_N) > 1):
        prompts = {
            int(g): int(n)
            for g, n in zip(r.group_N, r.attention_mask_NS.sum(1) - r.completion_mask_NT.sum(1), strict=True)
        }
        several.append(sum(prompts.values()) + int((r.completion_mask_NT.sum(1) - 1).sum()))
    assert max(several, default=0) <= micro_batch_tokens
    assert several or micro_batch_tokens == 30, "no two rows share a micro-batch"


def test_a_group_shares_a_micro_batch_where_it_fits() -> None:
    rollouts, credit = varlen(groups=8)
    (update,) = cut(rollouts, credit, 150)
    homes = [g for batch in update for g in {int(x) for x in batch.rollouts.group_N}]
    assert len(update) > 1 and len(homes) - len(set(homes)) < len(update), "groups lie scattered"


def test_micro_batches_are_trimmed_to_their_rows() -> None:
    rollouts, credit = varlen(groups=8)
    (update,) = cut(rollouts, credit, 150)
    for batch in update:
        used = batch.rollouts.attention_mask_NS.any(0)
        assert used[0] and used[-1], "a column of padding is left"
        assert batch.rollouts.completion_mask_NT.any(0)[-1]


@pytest.mark.parametrize("micro_batch_tokens", [1, 150, 10**6])
def test_rows_keep_their_tokens_and_what_belongs_to_them(micro_batch_tokens: int) -> None:
    rollouts, credit = varlen()
    prompt = rollouts.tokens_NS.shape[1] - rollouts.completion_mask_NT.shape[1]
    (update,) = cut(rollouts, credit, micro_batch_tokens)
    for batch in update:
        r, c = batch.rollouts, batch.credit
        assert r.ref_logp_NT is not None and r.reward_N is not None
        width = r.completion_mask_NT.shape[1]
        assert r.logp_NT.shape == r.ref_logp_NT.shape == c.advantage_NT.shape == r.completion_mask_NT.shape
        assert torch.equal(r.attention_mask_NS[:, -width:], r.completion_mask_NT)
        for k, i in enumerate(int(x) for x in r.reward_N):
            n = int(rollouts.completion_mask_NT[i].sum())
            assert (
                r.tokens_NS[k][r.attention_mask_NS[k]].tolist()
                == rollouts.tokens_NS[i][rollouts.attention_mask_NS[i]].tolist()
            )
            completion = rollouts.tokens_NS[i, prompt : prompt + n].tolist()
            assert r.tokens_NS[k, -width:][r.completion_mask_NT[k]].tolist() == completion
            numbers = [float(1000 * (i + 1) + t) for t in range(n)]
            assert c.advantage_NT[k].tolist() == numbers + [0.0] * (width - n)
            assert r.logp_NT[k].tolist() == [-x for x in numbers] + [0.0] * (width - n)
            assert r.ref_logp_NT[k].tolist() == [-2 * x for x in numbers] + [0.0] * (width - n)
            assert int(r.group_N[k]) == i // 4 and bool(c.keep_N[k])


def paired(seed: int) -> tuple[Rollouts, Credit]:
    """Kept are two pairs of a group's four rows, or one, or none; each pair is of any two of them."""
    rollouts, _ = varlen(groups=9, seed=seed)
    rng, units = np.random.default_rng(seed), []
    for group in range(9):
        rows = [2 * group, 2 * group, 2 * group + 1, 2 * group + 1] if group % 3 else [2 * group, -1, 2 * group, -1]
        units += [int(x) for x in rng.permutation(rows if group else [-1] * 4)]
    pair_N = torch.tensor(units)
    return rollouts, Credit(torch.ones(rollouts.completion_mask_NT.shape), keep_N=pair_N >= 0, pair_N=pair_N)


@pytest.mark.parametrize("micro_batch_tokens", [1, 60, 100, 150, 400, 10**6])
@pytest.mark.parametrize("seed", range(3))
def test_a_unit_is_never_parted(micro_batch_tokens: int, seed: int) -> None:
    """Its rows are in one micro-batch, which holds no more than it may, or one unit alone."""
    rollouts, credit = paired(seed)
    assert credit.pair_N is not None
    update = cut(rollouts, credit, micro_batch_tokens)[0]
    assert sorted(rows_of(update)) == credit.keep_N.nonzero()[:, 0].tolist()
    for batch in update:
        assert batch.credit.pair_N is not None
        numbers = batch.credit.pair_N.tolist()
        assert all(numbers.count(number) == 2 for number in numbers)
        packed = packed_tokens(batch)
        assert packed <= micro_batch_tokens or len(set(numbers)) == 1
    assert len(update) > 1 or micro_batch_tokens >= 400


def packed_tokens(batch: Batch) -> int:
    """A group's prompt once, and of each completion all but its last token."""
    attend, width = batch.rollouts.attention_mask_NS, batch.rollouts.completion_mask_NT.shape[1]
    groups = batch.rollouts.group_N.tolist()
    prompts = {g: int(row[:-width].sum()) for g, row in zip(groups, attend, strict=True)}
    return sum(prompts.values()) + int((attend[:, -width:].sum(1) - 1).sum())


def test_a_unit_of_its_own_is_as_no_unit() -> None:
    rollouts, credit = varlen()
    for micro_batch_tokens in (1, 60, 200, 10**6):
        one = cut(rollouts, credit, micro_batch_tokens)[0]
        two = cut(rollouts, replace(credit, pair_N=torch.arange(20)), micro_batch_tokens)[0]
        assert [rows_of([x]) for x in one] == [rows_of([x]) for x in two]


def test_an_update_without_kept_rows_still_comes() -> None:
    rollouts, _ = varlen()
    nothing = Credit(torch.ones(rollouts.completion_mask_NT.shape), torch.zeros(20).bool())
    found = cut(rollouts, nothing, epochs=2, minibatches=2)
    assert len(found) == 4
    for update in found:
        (batch,) = update
        assert batch.totals.sequences == batch.totals.tokens == 0 and batch.totals.max_completion_tokens == 64
        assert not batch.rollouts.completion_mask_NT.any() and len(batch.rollouts.group_N) == 1


def test_a_share_without_groups_still_comes() -> None:
    rollouts, credit = varlen(groups=2)
    found = cut(rollouts, credit, minibatches=3)
    assert len(found) == 3 and sorted(u[0].totals.sequences > 0 for u in found) == [False, True, True]


def test_trim_leaves_a_full_batch_alone() -> None:
    rollouts, credit = varlen(groups=1, prompt=1)
    rows = torch.tensor([int(rollouts.completion_mask_NT.sum(1).argmax())])
    one, worth = trim(rollouts.take(rows), credit.take(rows))
    again, twice = trim(one, worth)
    for name in ("tokens_NS", "attention_mask_NS", "completion_mask_NT", "logp_NT", "ref_logp_NT"):
        assert torch.equal(getattr(again, name), getattr(one, name))
    assert torch.equal(twice.advantage_NT, worth.advantage_NT)


def test_trim_keeps_the_token_that_predicts_the_first() -> None:
    """A row whose mask is empty (its update is empty) still has a column of prompt and one of completion."""
    rollouts, credit = varlen(groups=1)
    bare = Rollouts(
        tokens_NS=rollouts.tokens_NS[:1],
        attention_mask_NS=rollouts.attention_mask_NS[:1],
        completion_mask_NT=torch.zeros_like(rollouts.completion_mask_NT[:1]),
        logp_NT=rollouts.logp_NT[:1],
        group_N=rollouts.group_N[:1],
    )
    one, _ = trim(bare, credit.take(torch.tensor([0])))
    assert one.completion_mask_NT.shape[1] >= 1 and one.tokens_NS.shape[1] > one.completion_mask_NT.shape[1]
