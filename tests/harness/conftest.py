"""A small model that has read the answers: right now and then, greedily and sampled, so that scores are neither
0 nor 1.  (To be measured on what one was taught is fine where it is the measuring that is tested.)"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.tiny_models import SIZES

PROFILE = """max_new_tokens = 8
prompts = 4
group_size = 4
lr = 1e-3
budget = "completions=64"
"""

SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 96,
}


@pytest.fixture(scope="session")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's folder, with a profile; a session has one, and nobody writes to it."""
    from evals.tasks.arithmetic import Arithmetic
    from evals.tasks.data.arithmetic_chains import MARK
    from harness.models.pretraining.trainer import Packer, build_model, build_tokenizer, fit, save

    task, rng = Arithmetic(**SIZES), random.Random(0)
    sets = [s.problems for s in task.eval_sets() if s.temperature == 0]
    pool = [p for problems in (task.train(), *sets) for p in problems]

    def documents() -> Iterator[tuple[str, str]]:
        while True:
            problem = rng.choice(pool)
            if rng.random() < 0.7:
                yield problem.prompt, MARK + problem.gold
            else:
                guess = int(problem.gold) + rng.choice((0, 1, 10))
                yield problem.prompt, rng.choice((MARK, "", f"1+1=2\n{MARK}")) + str(guess)

    sample = documents()
    tokenizer = build_tokenizer((a + b for a, b in (next(sample) for _ in range(400))), 300, [MARK])
    model = build_model(SHAPE, len(tokenizer), tokenizer.pad_token_id, tokenizer.eos_token_id, seed=0)
    packer = Packer(documents(), lambda text: tokenizer(text)["input_ids"], tokenizer.eos_token_id, 8, 64)
    fit(model, packer, updates=200, lr=4e-3, warmup=10, say=lambda _: None)
    folder = tmp_path_factory.mktemp("taught") / "model"
    save(model, tokenizer, folder)
    (folder / "model_defaults.toml").write_text(PROFILE)
    return folder
