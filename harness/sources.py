"""`--reward` -> where the rewards come from."""

from __future__ import annotations

from evals.tasks import Task
from harness.config import RunConfig, build
from harness.policy import LMPolicy
from harness.prompts import Encoder
from harness.reward import LEARNED, Source, Stepwise, load_function
from harness.reward_models.fields import RewardModelFields


def source_of(config: RunConfig, policy: LMPolicy, encoder: Encoder, task: Task) -> Source:
    """Where the rewards come from."""
    if config.reward == "process-rule":
        return Stepwise(task, encoder.tokenizer)
    if config.reward not in LEARNED:
        return Source(load_function(config.reward))
    from harness.reward_models.learned import Learned
    from harness.reward_models.model import RewardModel, beside, load

    fields, tokenizer = reward_model_of(config), encoder.tokenizer
    classifier = load(fields.name, tokenizer) if fields.name else beside(policy.modules()["policy"])
    classifier.requires_grad_(False)
    model = RewardModel(classifier, policy.lm, policy.accelerator.autocast, config.micro_tokens, policy.device)
    return Learned(model, "process" if config.reward == "process-model" else "outcome", fields, task, tokenizer)


def reward_model_of(config: RunConfig) -> RewardModelFields:
    return build(RewardModelFields, config.reward_model, "reward_model.")
