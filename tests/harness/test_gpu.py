"""What only a GPU can show: `pytest -m gpu tests/harness/test_gpu.py`.  All of it has a twin that runs on the CPU."""

from __future__ import annotations

from typing import TypeVar

import pytest
import torch

from algos import Batch, Credit, Rollouts
from algos.grpo import GRPO
from harness.models.loading import accelerator
from harness.models.optimizer import OptimizerSettings
from harness.models.policy import LMPolicy
from harness.rollout.engine import Engine
from harness.rollout.sampler import Completions, Sampler, Sampling
from tests.harness.models.test_policy import credited, gradient, same_gradient, whole
from tests.harness.rollout.test_engine import same, tokens_of
from tests.harness.tiny_models import build, explored, letters, prompts_of

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
PROMPTS = prompts_of(6)
WARM = Sampling(temperature=0.8, max_new_tokens=40, seed=15)


Part = TypeVar("Part", Rollouts, Credit)


def on_gpu(part: Part) -> Part:
    return type(part)(**{k: x.cuda() if isinstance(x, torch.Tensor) else x for k, x in vars(part).items()})


def on_cpu(done: Completions) -> Completions:
    return Completions(*(x if x is None else x.cpu() for x in vars(done).values()))


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen2", "gemma", "mistral"])
def test_captured_steps_give_the_tokens_of_eager_ones(kind: str) -> None:
    """fp32, the same device: graphs, eager fixed shapes and eager growing memory."""
    model = build(kind).cuda()
    graphs, fixed, eager = (Sampler(model, letters()) for _ in range(3))
    assert graphs.engine.static and graphs.engine.graphs.capture
    fixed.engine.graphs.capture = False
    eager.engine = Engine(model, static=False)
    first = on_cpu(graphs(PROMPTS, 4, WARM))
    same(on_cpu(fixed(PROMPTS, 4, WARM)), first)
    same(on_cpu(eager(PROMPTS, 4, WARM)), first)
    same(on_cpu(graphs(PROMPTS, 4, WARM)), first)  # a second rollout replays what the first captured
    assert len(graphs.engine.graphs.steps) < 12


def test_in_16_bits_tokens_hardly_depend_on_the_batch(capsys: pytest.CaptureFixture[str]) -> None:
    """Tokens are equal in fp32; this measures how far bf16 keeps it, and says so."""
    run_by = accelerator("cuda", "bfloat16")
    model = build("llama").cuda()
    many, few = (Sampler(model, letters(), rows, run_by.autocast) for rows in (2048, 4))
    a, b = tokens_of(on_cpu(many(PROMPTS, 16, WARM))), tokens_of(on_cpu(few(PROMPTS, 16, WARM)))
    equal = sum(x == y for x, y in zip(a, b, strict=True)) / len(a)
    with capsys.disabled():
        print(f"\nbf16: {equal:.0%} of {len(a)} completions equal between 96 rows and 4 at a time")
    assert equal > 0.5


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2"])
def test_ragged_rows_are_read_as_packed_ones(kind: str) -> None:
    """torch's kernel for varlen rows in bf16, against the padded kernel in bf16: as near as 16 bits allow."""
    policy = LMPolicy(build(kind), accelerator("cuda", "bfloat16"), OptimizerSettings(1e-3), 0.8, False, 8192)
    assert policy.lm.varlen, "the kernel did not agree with the model, or is not there"
    r = on_gpu(explored(kind))
    varlen = policy.score(r)
    policy.lm.varlen = False
    assert float((policy.score(r) - varlen).abs().max()) < 0.3


def test_the_gradient_is_the_cpus() -> None:
    r = explored("llama")
    algo = GRPO(kl_coef=0)
    batch = whole(r, credited(r, torch.float32))
    here = gradient(
        LMPolicy(build("llama"), accelerator("cpu", "float32"), OptimizerSettings(1e-3), 0.8, False, 8192),
        algo,
        [batch],
    )
    policy = LMPolicy(build("llama"), accelerator("cuda", "float32"), OptimizerSettings(1e-3), 0.8, False, 8192)

    there = gradient(policy, algo, [Batch(on_gpu(batch.rollouts), on_gpu(batch.credit), batch.totals)])
    same_gradient({k: g.cpu() for k, g in there.items()}, here, 1e-4)
