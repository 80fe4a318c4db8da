"""The engine against transformers' own `generate`, plain forwards and itself."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from harness.rollout import sampler as rollout
from harness.rollout.rng import permutation, uniforms
from harness.rollout.sampler import Completions, Sampler, Sampling
from harness.rollout.token_sampling import sample_token
from tests.harness.tiny_models import ENDS, KINDS, PAD, build, letters, plain_logp, prompts_of, sampler_of, shared
from tests.helpers import close

PROMPTS = prompts_of(6)
G, T = 4, 24
# A token flips where rounding moves a boundary of the cumulative distribution across its u: about once in 50,000
# tokens of these flat distributions.  With seed 15 every u is 5e-6 or more away from all boundaries.
WARM = Sampling(temperature=0.8, max_new_tokens=T, seed=15)


def greedy(limit: int, **changes: object) -> Sampling:
    return Sampling(0.0, limit, **changes)  # type: ignore[arg-type]


def tokens_of(done: Completions) -> list[list[int]]:
    return [row[:n] for row, n in zip(done.tokens_NT.tolist(), done.length_N.tolist(), strict=True)]


def logp_of(done: Completions) -> list[list[float]]:
    return [row[:n] for row, n in zip(done.logp_NT.tolist(), done.length_N.tolist(), strict=True)]


def same(one: Completions, two: Completions) -> None:
    """The same tokens; log-probabilities within 1e-5."""
    assert tokens_of(one) == tokens_of(two)
    assert one.finished_N.tolist() == two.finished_N.tolist()
    close(logp_of(one), logp_of(two), rtol=0, atol=1e-5)


def pick(done: Completions, rows: list[int]) -> Completions:
    found = (getattr(done, f.name) for f in dataclasses.fields(done))
    return Completions(*(x if x is None else x[rows] for x in found))


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def whole(kind: str) -> Completions:
    """All prompts at once."""
    return sampler_of(kind)(PROMPTS, G, WARM)


# ---------------------------------------------------------------- against transformers


def test_greedy_is_generate_token_for_token(kind: str) -> None:
    done = tokens_of(sampler_of(kind)(PROMPTS, 1, greedy(32)))
    for prompt, tokens in zip(PROMPTS, done, strict=True):  # each alone, without padding
        ids = torch.tensor([prompt])
        theirs = shared(kind).generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=32)
        assert tokens == theirs[0, len(prompt) :].tolist()
    assert len({len(tokens) for tokens in done}) > 1, "all completions have one length: the test shows little"


def test_logp_is_the_log_softmax_of_a_plain_forward_at_the_temperature(kind: str, whole: Completions) -> None:
    for i, (tokens, logp) in enumerate(zip(tokens_of(whole), logp_of(whole), strict=True)):
        prompt = PROMPTS[i // G]
        plain = plain_logp(shared(kind), prompt + tokens, len(prompt), WARM.temperature)
        close(logp, plain[torch.arange(len(tokens)), tokens], rtol=0, atol=1e-5)


def test_sampled_tokens_invert_the_cdf_of_a_plain_forward(kind: str, whole: Completions) -> None:
    """Row by row, from the noise and an unpadded forward: cdf(token - 1) <= u < cdf(token)."""
    for i, tokens in enumerate(tokens_of(whole)):
        prompt = PROMPTS[i // G]
        plain = plain_logp(shared(kind), prompt + tokens, len(prompt), WARM.temperature).exp().cumsum(-1)
        u = uniforms(WARM.seed, "train", [i // G], [i % G], len(tokens))[0]
        for t, token in enumerate(tokens):
            below = float(plain[t, token - 1]) if token else 0.0
            assert below - 1e-6 <= u[t] <= float(plain[t, token]) + 1e-6


def test_greedy_logp_is_that_of_temperature_1(kind: str) -> None:
    done = sampler_of(kind)(PROMPTS[:2], 1, greedy(6))
    for prompt, tokens, logp in zip(PROMPTS, tokens_of(done), logp_of(done), strict=False):
        plain = plain_logp(shared(kind), prompt + tokens, len(prompt), 1.0)
        close(logp, plain.max(-1).values, rtol=0, atol=1e-5)


# ---------------------------------------------------------------- the same tokens, however they are batched


def reversed_order(kind: str) -> Completions:
    count = len(PROMPTS)
    done = sampler_of(kind)(PROMPTS[::-1], G, WARM, ordinals=list(range(count))[::-1])
    return pick(done, [(count - 1 - p) * G + g for p in range(count) for g in range(G)])


def one_by_one(kind: str) -> Completions:
    parts = [sampler_of(kind)([p], G, WARM, ordinals=[i]) for i, p in enumerate(PROMPTS)]
    width = max(p.tokens_NT.shape[1] for p in parts)
    return Completions(
        torch.cat([torch.nn.functional.pad(p.tokens_NT, (0, width - p.tokens_NT.shape[1])) for p in parts]),
        torch.cat([torch.nn.functional.pad(p.logp_NT, (0, width - p.logp_NT.shape[1])) for p in parts]),
        torch.cat([torch.nn.functional.pad(p.entropy_NT, (0, width - p.entropy_NT.shape[1])) for p in parts]),
        torch.cat([p.length_N for p in parts]),
        torch.cat([p.finished_N for p in parts]),
    )


def rows(limit: int) -> Callable[[str], Completions]:
    return lambda kind: sampler_of(kind, rows=limit)(PROMPTS, G, WARM)


def compact(share: float) -> Callable[[str], Completions]:
    def run(kind: str) -> Completions:
        sampler = sampler_of(kind)
        sampler.COMPACT = share  # type: ignore[misc]
        return sampler(PROMPTS, G, WARM)

    return run


def shuffled(kind: str) -> Completions:
    order = [3, 0, 5, 1, 4, 2]
    done = sampler_of(kind, rows=9)([PROMPTS[i] for i in order], G, WARM, ordinals=order)
    return pick(done, [order.index(p) * G + g for p in range(len(order)) for g in range(G)])


WAYS: dict[str, Callable[[str], Completions]] = {
    "reversed": reversed_order,
    "shuffled, two prompts at once": shuffled,
    "each prompt alone": one_by_one,
    "rows=1": rows(1),
    "rows=8": rows(8),
    "rows=15": rows(15),
    "never compacted": compact(0.0),
    "compacted at 1 in 2": compact(0.5),
    "compacted at 8 in 10": compact(0.8),
    "compacted always": compact(1.0),
}


@pytest.mark.parametrize("way", WAYS)
def test_tokens_do_not_depend_on_the_batch(kind: str, whole: Completions, way: str) -> None:
    same(WAYS[way](kind), whole)


@pytest.mark.parametrize("extra", [1, 7])
def test_tokens_do_not_depend_on_padding(
    kind: str, whole: Completions, extra: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = rollout.left_pad

    def wider(rows: list[list[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
        tokens, attend = plain(rows, pad)
        side = (extra, 0)
        return torch.nn.functional.pad(tokens, side, value=77), torch.nn.functional.pad(attend, side, value=False)

    monkeypatch.setattr(rollout, "left_pad", wider)
    same(sampler_of(kind)(PROMPTS, G, WARM), whole)


@pytest.mark.parametrize("group_size", [1, 2, 3, 5])
def test_completion_k_does_not_depend_on_the_group_size(kind: str, whole: Completions, group_size: int) -> None:
    done = sampler_of(kind)(PROMPTS, group_size, WARM)
    shared_columns = range(min(group_size, G))
    mine = [p * group_size + g for p in range(len(PROMPTS)) for g in shared_columns]
    theirs = [p * G + g for p in range(len(PROMPTS)) for g in shared_columns]
    same(pick(done, mine), pick(whole, theirs))


def test_a_shorter_limit_gives_the_beginning(kind: str, whole: Completions) -> None:
    done = sampler_of(kind)(PROMPTS, G, dataclasses.replace(WARM, max_new_tokens=7))
    assert tokens_of(done) == [row[:7] for row in tokens_of(whole)]
    assert done.finished_N.tolist() == [
        e and n <= 7 for e, n in zip(whole.finished_N.tolist(), whole.length_N.tolist(), strict=True)
    ]


def test_greedy_does_not_depend_on_the_batch(kind: str) -> None:
    together = sampler_of(kind)(PROMPTS, 1, greedy(T))
    alone = [tokens_of(sampler_of(kind)([p], 1, greedy(T)))[0] for p in PROMPTS]
    assert tokens_of(together) == alone
    assert tokens_of(sampler_of(kind, rows=2)(PROMPTS, 1, greedy(T))) == alone


# ---------------------------------------------------------------- what depends on what


def test_tokens_depend_on_seed_stream_ordinal_and_completion() -> None:
    sampler = sampler_of("llama")
    base = tokens_of(sampler([PROMPTS[1]], 2, WARM))
    assert base[0] != base[1], "the completions of a group are the same"
    for other in (dataclasses.replace(WARM, seed=6), dataclasses.replace(WARM, stream="eval/arithmetic")):
        assert tokens_of(sampler([PROMPTS[1]], 2, other)) != base
    assert tokens_of(sampler([PROMPTS[1]], 2, WARM, ordinals=[1])) != base
    assert tokens_of(sampler([PROMPTS[1]], 2, WARM, ordinals=[0])) == base


def test_greedy_ignores_the_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = sampler_of("llama")
    base = tokens_of(sampler(PROMPTS, 2, greedy(T)))
    assert base[::2] == base[1::2]
    assert tokens_of(sampler(PROMPTS, 2, greedy(T, seed=9, stream="x"), ordinals=[9, 3, 1, 4, 5, 6])) == base


def test_sampling_leaves_the_global_generators_alone() -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    first = sampler_of("llama")(PROMPTS, 2, WARM)
    assert torch.equal(torch.get_rng_state(), before[0]) and np.random.get_state()[1].tolist() == before[1]
    torch.manual_seed(1)
    same(sampler_of("llama")(PROMPTS, 2, WARM), first)


# ---------------------------------------------------------------- where completions end


def test_a_completion_ends_at_its_first_end_token_or_at_the_limit(kind: str, whole: Completions) -> None:
    for row, n, ended in zip(whole.tokens_NT.tolist(), whole.length_N.tolist(), whole.finished_N.tolist(), strict=True):
        ends = [i for i, token in enumerate(row[:n]) if token in ENDS]
        assert ends == ([n - 1] if ended else [])
        assert ended or n == T
        assert row[n:] == [PAD] * (len(row) - n)
    logp = whole.logp_NT
    after = torch.arange(logp.shape[1]) >= whole.length_N[:, None]
    assert torch.all(logp[after] == 0) and torch.all(logp[~after] < 0)
    assert whole.finished_N.any() and not whole.finished_N.all(), "one of the two cases does not occur"


def test_an_end_token_at_the_limit_has_ended() -> None:
    full = sampler_of("llama")(PROMPTS, G, WARM)
    row = next(i for i, (n, e) in enumerate(zip(full.length_N.tolist(), full.finished_N, strict=True)) if e and n > 2)
    limit = int(full.length_N[row])
    for cut, ended in ((limit, True), (limit - 1, False)):
        done = sampler_of("llama")(PROMPTS, G, dataclasses.replace(WARM, max_new_tokens=cut))
        assert (int(done.length_N[row]), bool(done.finished_N[row])) == (cut, ended)


def test_a_limit_of_one_token() -> None:
    done = sampler_of("gpt2")(PROMPTS, G, dataclasses.replace(WARM, max_new_tokens=1))
    assert done.tokens_NT.shape == (len(PROMPTS) * G, 1) and done.length_N.tolist() == [1] * len(PROMPTS) * G


def test_all_end_tokens_count_the_configurations_and_the_tokenizers() -> None:
    model = build("llama")
    model.generation_config.eos_token_id = [50, 60]
    assert Sampler(model, letters()).ends == [letters().eos_token_id, 50, 60]
    model.generation_config.eos_token_id = 70
    assert Sampler(model, letters()).ends == [letters().eos_token_id, 70]
    model.generation_config.eos_token_id = None
    assert Sampler(model, letters()).ends == [letters().eos_token_id]


def test_a_stop_string_ends_a_completion_and_is_cut_off() -> None:
    model = build("llama")
    model.generation_config.eos_token_id = None
    sampler = Sampler(model, letters())
    tokens = tokens_of(sampler([PROMPTS[1]], 1, greedy(12)))[0]
    text = letters().decode(tokens)
    stop = text[5:9]  # it begins inside a token
    first = next(n for n in range(len(tokens) + 1) if stop in letters().decode(tokens[:n]))
    assert 0 < first < len(tokens) == 12
    done = sampler([PROMPTS[1]], 1, greedy(12, stop=("never!", stop)))
    assert tokens_of(done) == [tokens[:first]] and done.finished_N.tolist() == [True]
    assert sampler.texts(done, ("never!", stop)) == [text[: text.index(stop)]]


def test_a_stop_string_ends_its_own_row_alone(whole: Completions, kind: str) -> None:
    sampler = sampler_of(kind)
    texts = sampler.texts(whole)
    stop = max(texts, key=len)[6:9]
    done = sampler(PROMPTS, G, dataclasses.replace(WARM, stop=(stop,)))
    cut = 0
    for before, after, text, ended, was in zip(
        tokens_of(whole), tokens_of(done), texts, done.finished_N.tolist(), whole.finished_N.tolist(), strict=True
    ):
        if stop in text:
            first = next(n for n in range(len(before) + 1) if stop in letters().decode(before[:n]))
            assert after == before[:first] and ended
            cut += first < len(before)
        else:
            assert after == before and ended == was
    assert 0 < cut < len(texts)
    assert sampler.texts(done, (stop,)) == [text.split(stop)[0] for text in texts]


def test_texts_leave_special_tokens_out() -> None:
    none = torch.zeros(1, 5)
    done = Completions(torch.tensor([[5, 0, 6, 1, 9]]), none, none, torch.tensor([4]), torch.tensor([True]))
    assert sampler_of("llama").texts(done) == [letters().decode([5, 6])]


# ---------------------------------------------------------------- the model is read, not changed


def test_the_models_mode_is_put_back_and_dropout_is_off() -> None:
    dropping = build("gpt2", resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5)
    sampler = Sampler(dropping, letters())
    for mode in (True, False):
        dropping.train(mode)
        same(sampler(PROMPTS, G, WARM), sampler_of("gpt2")(PROMPTS, G, WARM))
        assert dropping.training is mode
    assert any(isinstance(m, torch.nn.Dropout) and m.p == 0.5 for m in dropping.modules())


def test_the_models_mode_is_put_back_after_an_error() -> None:
    model = build("llama").train()
    with pytest.raises(IndexError):
        Sampler(model, letters())([[10**6]], 1, WARM)
    assert model.training


def test_sampling_changes_no_weight_and_leaves_no_gradient() -> None:
    model = build("llama")
    before = copy.deepcopy(model.state_dict())
    done = Sampler(model, letters())(PROMPTS, 2, WARM)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters()) and not done.logp_NT.requires_grad


def test_the_peak_of_the_cache_is_bytes_of_keys_and_values() -> None:
    """Nothing ends and nothing is compacted: each prompt once, and T columns of every row's own."""
    model = build("llama")
    model.generation_config.eos_token_id = None
    sampler = Sampler(model, letters())
    sampler.ends = [10**6]
    sampler(PROMPTS, G, WARM)
    layers, heads, size, floats = 2, 2, 8, 4
    columns = len(PROMPTS) * max(map(len, PROMPTS)) + len(PROMPTS) * G * T
    assert sampler.peak_cache_bytes == columns * 2 * layers * heads * size * floats


# ---------------------------------------------------------------- the noise


def test_noise_columns_are_a_prefix() -> None:
    long = uniforms(1, "train", [0, 3, 3], [0, 1, 2], 40)
    for k in (1, 7, 39):
        assert np.array_equal(uniforms(1, "train", [0, 3, 3], [0, 1, 2], k), long[:, :k])


def test_noise_rows_are_independent_of_each_other() -> None:
    rows = [(o, g) for o in (0, 1, 5, 2**33) for g in (0, 1, 15)]
    together = uniforms(1, "train", [o for o, _ in rows], [g for _, g in rows], 20)
    for i, (o, g) in enumerate(rows):
        assert np.array_equal(uniforms(1, "train", [o], [g], 20)[0], together[i])
    backwards = uniforms(1, "train", [o for o, _ in rows][::-1], [g for _, g in rows][::-1], 20)
    assert np.array_equal(backwards[::-1], together)
    assert len(np.unique(together)) == together.size


def test_noise_differs_by_seed_stream_ordinal_and_completion() -> None:
    base = uniforms(1, "train", [2], [3], 50)
    for other in (
        uniforms(2, "train", [2], [3], 50),
        uniforms(1, "eval/arithmetic", [2], [3], 50),
        uniforms(1, "train", [3], [3], 50),
        uniforms(1, "train", [2], [4], 50),
        uniforms(1, "train", [3], [2], 50),
        uniforms(11, "/train", [2], [3], 50),
    ):
        assert not np.any(other == base)
        assert not set(other[0]) & set(base[0]), "one stream is another, shifted"


def test_noise_is_uniform_and_uncorrelated() -> None:
    u = uniforms(0, "train", [o for o in range(50) for _ in range(8)], [*range(8)] * 50, 50)
    assert u.min() >= 0 and u.max() < 1
    flat = u.ravel()
    assert abs(flat.mean() - 0.5) < 4 * math.sqrt(1 / 12 / flat.size)
    assert abs(flat.var() - 1 / 12) < 4 * math.sqrt(1 / 180 / flat.size)
    assert kstest(flat, "uniform").pvalue > 1e-3
    centred = u - 0.5
    for a, b in ((centred[:, :-1], centred[:, 1:]), (centred[:-1], centred[1:]), (centred[:-8], centred[8:])):
        assert abs((a * b).mean()) < 4 / 12 / math.sqrt(a.size)


def test_permutations_are_of_all_problems_and_differ_by_epoch() -> None:
    orders = [permutation(seed, "prompts", epoch, 30).tolist() for seed in (0, 1) for epoch in (0, 1, 2)]
    assert all(sorted(order) == list(range(30)) for order in orders)
    assert len({tuple(order) for order in orders}) == 6
    assert permutation(0, "prompts", 1, 30).tolist() == orders[1]


# ---------------------------------------------------------------- the choice of a token


LOGITS = [[2.0, -1.0, 0.5, 0.0, 1.0, -3.0, 0.3], [0.0] * 7, [-math.inf, 1.0, 3.0, -math.inf, 0.0, 0.0, -math.inf]]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("logits", LOGITS)
def test_choose_draws_each_token_as_often_as_it_is_likely(logits: list[float], temperature: float) -> None:
    """Over an even grid of u: counts within one of n p, for a token's share of [0, 1) is one interval."""
    n = 5000
    u = (torch.arange(n) + 0.5) / n
    tokens, logp, _ = sample_token(torch.tensor([logits]).expand(n, -1), temperature, u)
    weights = [math.exp(x / temperature) for x in logits]
    for token, weight in enumerate(weights):
        p = weight / sum(weights)
        hits = tokens == token
        assert abs(int(hits.sum()) - n * p) <= 1.01
        assert p > 0 or not hits.any()
        if hits.any():
            close(logp[hits][0], math.log(p), rtol=0, atol=1e-6)
    assert torch.all(tokens.diff() >= 0), "not the inverse of a cumulative distribution"


def test_choose_never_takes_what_is_impossible() -> None:
    last = 1 - 2.0**-53
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.standard_normal((400, 50)) * 4).float()
    logits[:, :5] = logits[:, 45:] = -math.inf
    for u in (0.0, last):
        tokens, logp, _ = sample_token(logits, 1.0, torch.full((400,), u, dtype=torch.float64))
        assert torch.all(tokens >= 5) and torch.all(tokens < 45) and torch.all(torch.isfinite(logp))


def test_choose_greedily_takes_the_likeliest() -> None:
    logits = torch.tensor(LOGITS)
    tokens, logp, _ = sample_token(logits, 0.0, None)
    assert tokens.tolist() == [0, 0, 2]
    total = [math.log(sum(math.exp(x) for x in row)) for row in LOGITS]
    close(logp, [2.0 - total[0], 0.0 - total[1], 3.0 - total[2]], rtol=0, atol=1e-6)


@pytest.mark.parametrize("limit", [1, 4])
def test_the_cache_is_counted_as_it_is_held(limit: int) -> None:
    """Memory for the prompt and every token up to the limit, keys and values of each layer, four bytes a number."""
    config, sampler = build("llama").config, sampler_of("llama")
    sampler = Sampler(sampler.model, sampler.tokenizer)
    sampler([[5, 6, 7]], 1, greedy(limit))
    tokens = 3 + limit
    heads = config.num_key_value_heads * (config.hidden_size // config.num_attention_heads)
    assert sampler.peak_cache_bytes == 4 * 2 * config.num_hidden_layers * heads * tokens
