"""The formula of DESIGN rule 5, by hand."""

from __future__ import annotations

import pytest

from harness.flops import FlopsModel, RunFlops
from tests.harness.small import VOCABULARY, build
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
