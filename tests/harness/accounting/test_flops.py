"""The formula of accounting/flops.py, by hand."""

from __future__ import annotations

import pytest

from harness.accounting.flops import FlopsModel, RunFlops
from harness.models.value_model import ValueModel
from tests.harness.architectures import tiny
from tests.harness.tiny_models import VOCABULARY, build
from tests.helpers import close

V, H, LAYERS, HEADS, INNER = VOCABULARY, 32, 2, 4, 48


def llama_layer(pairs: int) -> int:
    """Four projections, three matrices of the MLP, two norms; `pairs` heads of keys and values, each 8 wide."""
    return H * H + 2 * (H * pairs * 8) + H * H + 3 * H * INNER + 2 * H


BY_HAND = {
    # parameters that multiply a token (all but the input embedding; a tied head counts), width of attention
    "llama": (LAYERS * llama_layer(2) + H + V * H, HEADS * 8),
    "llama_tied": (LAYERS * llama_layer(4) + H + V * H, HEADS * 8),
    "qwen2": (LAYERS * (llama_layer(2) + H + 2 * 16) + H + V * H, HEADS * 8),  # biases of q, k, v
    # heads of 16, wider than the model: q and o are 32 x 64
    "gemma": (LAYERS * (2 * H * HEADS * 16 + 2 * H * 16 + 3 * H * INNER + 2 * H) + H + V * H, HEADS * 16),
    # GPT-2: learned positions, biases everywhere, norms with a bias, an MLP of four times the width
    "gpt2": (
        128 * H + LAYERS * (H * 3 * H + 3 * H + H * H + H + 8 * H * H + 5 * H + 4 * H) + 2 * H + V * H,
        HEADS * 8,
    ),
}


@pytest.mark.parametrize("kind", BY_HAND)
def test_the_model_of_a_model(kind: str) -> None:
    parameters, width = BY_HAND[kind]
    flops = FlopsModel.of(build(kind))
    assert flops.matrix == 2 * parameters
    assert flops.attention == 4 * LAYERS * width


def forward(matrix: float, attention: float, first: int, last: int) -> float:
    """Token by token: position t attends to t tokens, itself included."""
    return sum(matrix + attention * t for t in range(first, last + 1))


MODEL = FlopsModel(matrix=1000.0, attention=8.0)
PROMPTS = [5, 1, 30]
COMPLETIONS = [[3, 7], [1, 1], [12, 40]]


@pytest.mark.parametrize(("start", "length"), [(0, 1), (0, 9), (4, 1), (17, 23), (5, 0)])
def test_a_span_is_the_sum_over_its_tokens(start: int, length: int) -> None:
    close(MODEL.span(start, length), forward(1000.0, 8.0, start + 1, start + length))


def test_a_rollout_reads_its_prompt_once_a_group() -> None:
    expected = 0.0
    for p, group in zip(PROMPTS, COMPLETIONS, strict=True):
        expected += forward(1000.0, 8.0, 1, p)
        for c in group:
            expected += forward(1000.0, 8.0, p + 1, p + c)
    close(MODEL.rollout(PROMPTS, COMPLETIONS), expected)


def test_training_reads_it_once_a_completion_and_backward_is_twice_forward() -> None:
    expected = 0.0
    for p, group in zip(PROMPTS, COMPLETIONS, strict=True):
        for c in group:
            expected += 3 * forward(1000.0, 8.0, 1, p + c)
    lengths = [p + c for p, group in zip(PROMPTS, COMPLETIONS, strict=True) for c in group]
    close(RunFlops(MODEL).update(lengths), expected)
    close(MODEL.read(lengths), expected / 3)


def test_a_group_must_have_a_prompt() -> None:
    with pytest.raises(ValueError):
        MODEL.rollout([5], COMPLETIONS)


# ---------------------------------------------------------------- a critic, a reference, a frozen policy


TRUNKS = {
    # parameters that multiply a token in a trunk without its output head
    "llama": LAYERS * llama_layer(2) + H,
    "llama_tied": LAYERS * llama_layer(4) + H,
    "gpt2": BY_HAND["gpt2"][0] - V * H,
}


@pytest.mark.parametrize("kind", TRUNKS)
def test_a_critic_of_its_own_is_a_trunk_and_a_head(kind: str) -> None:
    """The head is 32 weights and a bias, in the place of 300 x 32 weights."""
    flops = FlopsModel.of_critic(ValueModel(build(kind), "separate"))
    assert flops.matrix == 2 * (TRUNKS[kind] + H + 1)
    assert flops.attention == 4 * LAYERS * BY_HAND[kind][1] == FlopsModel.of(build(kind)).attention


@pytest.mark.parametrize("kind", TRUNKS)
def test_a_critic_on_the_policys_trunk_is_its_head_alone(kind: str) -> None:
    flops = FlopsModel.of_critic(ValueModel(build(kind), "shared"))
    assert (flops.matrix, flops.attention) == (2 * (H + 1), 0)


CRITIC = FlopsModel(matrix=700.0, attention=3.0)
LENGTHS = [5 + 3, 5 + 7, 1 + 1, 1 + 1, 30 + 12, 30 + 40]


def read(model: FlopsModel) -> float:
    return sum(forward(model.matrix, model.attention, 1, length) for length in LENGTHS)


@pytest.mark.parametrize("reference", [None, MODEL])
@pytest.mark.parametrize("critic", [None, CRITIC])
def test_exploring_is_the_rollout_and_one_reading_by_each_that_annotates(
    reference: FlopsModel | None, critic: FlopsModel | None
) -> None:
    expected = 0.0
    for p, group in zip(PROMPTS, COMPLETIONS, strict=True):
        expected += forward(1000.0, 8.0, 1, p) + sum(forward(1000.0, 8.0, p + 1, p + c) for c in group)
    expected += read(MODEL) if reference else 0.0
    expected += read(CRITIC) if critic else 0.0
    close(RunFlops(MODEL, reference, critic).explore(PROMPTS, COMPLETIONS), expected)


@pytest.mark.parametrize("reference", [None, MODEL])
@pytest.mark.parametrize(
    ("critic", "frozen", "policies", "critics"),
    [(None, False, 3, 0), (CRITIC, False, 3, 3), (CRITIC, True, 1, 3)],
)
def test_an_update_is_three_readings_of_what_learns_and_one_of_a_frozen_policy(
    reference: FlopsModel | None, critic: FlopsModel | None, frozen: bool, policies: int, critics: int
) -> None:
    """The reference has been read when the round was explored; it has no part in an update."""
    found = RunFlops(MODEL, reference, critic).update(LENGTHS, frozen)
    close(found, policies * read(MODEL) + critics * read(CRITIC))


@pytest.mark.parametrize(
    ("name", "layers"),
    [("llama", 2), ("mistral", 2), ("gemma2", 2), ("lfm2", 1), ("qwen3_next", 1), ("minimax", 1), ("mamba", 0)],
)
def test_layers_that_do_not_attend_are_no_attention(name: str, layers: int) -> None:
    """Of two layers each; hidden size 64, four heads of 16."""
    assert FlopsModel.of(tiny(name)).attention == 4 * layers * 64
