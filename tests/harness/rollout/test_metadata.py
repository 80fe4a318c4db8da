"""What rollouts know of their prompts: words, states, and who is told when a memory of prompts is none."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from algos.grpo import GRPO
from evals.tasks import Problem
from harness.rollout.metadata import WORDS, completion_embeddings, text_embedding, with_text
from harness.training.loop.prompt_knowledge import never_again
from harness.training.resume.inputs import own_files, source_sha256
from tests.algos.builders import random_round
from tests.helpers import close


def cosine(one: str, other: str) -> float:
    return sum(x * y for x, y in zip(text_embedding(one), text_embedding(other), strict=True))


def test_texts_are_near_that_share_words() -> None:
    same, near, far = (cosine("Add 3 and 4.", other) for other in ("add 3 and 4", "Add 3 and 9.", "Sort: pear, fig"))
    close(same, 1.0)
    assert 0.2 < near < 1 and far < 0.2
    assert text_embedding("") == [0.0] * WORDS and len(text_embedding("a")) == WORDS


def test_every_completion_has_the_words_of_its_prompt() -> None:
    r = random_round()
    owners = [Problem(id=str(g), prompt=f"prompt {g}", gold="") for g in r.group_N.tolist()]
    text_NE = with_text(r, owners).metadata["text"]
    assert text_NE.shape == (12, WORDS)
    close(text_NE[5], text_embedding("prompt 1"))


def test_a_completions_embedding_is_the_mean_of_its_own_states_and_of_none_it_is_0() -> None:
    """A model whose state before a token is the token itself."""

    class Echo:
        def hidden_states(self, r: Any) -> Any:
            width = r.completion_mask_NT.shape[1]
            return SimpleNamespace(state_MH=r.tokens_NS[:, -width:][r.completion_mask_NT][:, None].float())

    r = random_round()
    mask_NT = r.completion_mask_NT.clone()
    mask_NT[3] = False
    r = type(r)(**{**vars(r), "completion_mask_NT": mask_NT})
    found_NE = completion_embeddings(Echo(), r)  # type: ignore[arg-type]
    for i in range(len(found_NE)):
        tokens = r.tokens_NS[i, -mask_NT.shape[1] :][mask_NT[i]].tolist()
        close(found_NE[i].double(), [sum(tokens) / max(len(tokens), 1)], rtol=1e-6)
    assert torch.equal(found_NE[3], torch.zeros(1))


def test_a_memory_of_prompts_that_are_not_met_again_is_told() -> None:
    memory = GRPO(baseline="history")
    [told] = never_again(memory, drawn=32, share=0.05, problems=4096)
    assert "algo.baseline: it remembers prompts, and none is met again" in told and "about 640 of 4,096" in told
    assert never_again(memory, drawn=32, share=0.05, problems=100) == []  # six epochs
    assert never_again(GRPO(), drawn=32, share=0.05, problems=4096) == []


def test_a_file_of_ones_own_is_known_by_its_content(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text("def half(r): return 0.5")
    assert own_files(vars(GRPO(group_by="source"))) == {}
    assert own_files({"baseline": f"{file}:half", "ratio": "token", "draws": 1}) == {"baseline": str(file)}
    before = source_sha256(file)
    file.write_text("def half(r): return 0.4")
    assert source_sha256(file) != before
