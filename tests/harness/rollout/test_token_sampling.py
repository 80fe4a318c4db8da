"""Drawing from a large vocabulary, a few rows at a time."""

from __future__ import annotations

import pytest
import torch

from harness.rollout import token_sampling
from harness.rollout.token_sampling import sample_token
from tests.helpers import close


@pytest.mark.parametrize(("temperature", "plain"), [(1.0, False), (0.7, False), (0.7, True), (0.0, False)])
@pytest.mark.parametrize("rows", [1, 8, 9, 20, 37])
def test_rows_in_parts_are_the_rows(
    temperature: float, plain: bool, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens and log-probabilities to the bit; an entropy's sum may be split among threads in another way."""
    generator = torch.Generator().manual_seed(rows)
    logits = 4 * torch.randn(rows, 5003, generator=generator)
    u = None if temperature == 0 else torch.rand(rows, generator=generator, dtype=torch.float64)
    whole = token_sampling._sample(logits, temperature, u, plain)
    monkeypatch.setattr(token_sampling, "CACHED", 8 * 5003)
    sizes: list[int] = []
    original = token_sampling._sample
    monkeypatch.setattr(token_sampling, "_sample", lambda x, *given: sizes.append(len(x)) or original(x, *given))
    parts = sample_token(logits, temperature, u, plain)
    assert torch.equal(whole[0], parts[0]) and torch.equal(whole[1], parts[1])
    close(parts[2], whole[2])
    assert sum(sizes) == rows and max(sizes) <= 8
