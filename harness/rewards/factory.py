"""`--reward` -> where the rewards come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evals.tasks import Task
from harness.config.rewards import LEARNED, RewardModelFields, load_function, reward_model_of
from harness.config.run_config import RunConfig
from harness.models.policy import LMPolicy
from harness.rewards.base import Source
from harness.rewards.label_noise import Noisy
from harness.rewards.process import Stepwise
from harness.rewards.shaping import Composed
from harness.rollout.tokenization import Encoder


def source_of(config: RunConfig, policy: LMPolicy, encoder: Encoder, task: Task) -> Source:
    """Where the rewards come from: a source, and the terms that are added to what it says."""
    source = _source(config, policy, encoder, task)
    weights = config.reward_weights
    return Composed(source, weights, task, config.max_new_tokens) if weights else source


def _source(config: RunConfig, policy: LMPolicy, encoder: Encoder, task: Task) -> Source:
    if config.reward_noise:
        return Noisy(config.reward_noise, config.seed)
    if config.reward == "process-rule":
        return Stepwise(task, encoder.tokenizer)
    if config.reward not in LEARNED:
        return Source(load_function(config.reward))
    from harness.rewards.learned import Learned
    from harness.rewards.reward_model import RewardModel

    fields, tokenizer = reward_model_of(config), encoder.tokenizer
    classifier = classifier_of(fields, policy.modules()["policy"], tokenizer)
    classifier.requires_grad_(False)
    model = RewardModel(classifier, policy.lm, policy.accelerator.autocast, config.micro_tokens, policy.device)
    return Learned(model, "process" if config.reward == "process-model" else "outcome", fields, task, tokenizer)


def classifier_of(fields: RewardModelFields, model: Any, tokenizer: Any) -> Any:
    """The one that is named, or one on the policy's own backbone."""
    from harness.rewards.reward_model import beside, load

    return load(fields.name, tokenizer, model.dtype) if fields.name else beside(model)


def reward_identity(config: RunConfig) -> dict[str, str] | None:
    """What a named reward model is: by its bytes, or by its name on the hub.  None where none is named."""
    name = reward_model_of(config).name if config.reward in LEARNED else None
    if name is None:
        return None
    from harness.models.loading import weights_sha256

    return {"name": name, "sha256": weights_sha256(Path(name))} if Path(name).is_dir() else {"name": name}
