"""`--reward` -> the reward source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.config.experiment import Experiment
from harness.config.rewards import RewardModelFields, load_function
from harness.models.adapters.folders import plain_copy
from harness.models.loading import weights_sha256
from harness.models.policy import LMPolicy
from harness.rewards.base import RewardSource
from harness.rewards.label_noise import LabelNoise
from harness.rewards.process import ProcessReward
from harness.rewards.shaping import ShapedReward
from harness.rewards.user_function import UserReward


def reward_source_of(experiment: Experiment, policy: LMPolicy, tokenizer: Any) -> RewardSource:
    """The source that the experiment names, with the shaping terms that its configuration adds."""
    config, source = experiment.config, _unshaped(experiment, policy, tokenizer)
    weights = config.reward_weights
    if not weights and not config.reward_gate:
        return source
    return ShapedReward(source, weights, experiment.task, config.max_new_tokens, config.reward_gate)


def _unshaped(experiment: Experiment, policy: LMPolicy, tokenizer: Any) -> RewardSource:
    config, task, fields = experiment.config, experiment.task, experiment.reward_model
    if config.reward_noise:
        return LabelNoise(config.reward_noise, config.seed)
    if config.reward == "process-rule":
        return ProcessReward(task, tokenizer)
    if config.reward == "rule":
        return RewardSource()
    if fields is None:
        function = load_function(config.reward)
        return UserReward(config.reward, function, config.reward_timeout, config.reward_failures)
    from harness.rewards.learned import LearnedReward
    from harness.rewards.reward_model import RewardModel

    model = policy.lm.model if policy.adapters is None else plain_copy(policy.adapters)
    classifier = classifier_of(fields, model, tokenizer)
    classifier.requires_grad_(False)
    reward_model = RewardModel(
        classifier, policy.lm, policy.accelerator.autocast, config.micro_batch_tokens, policy.device
    )
    return LearnedReward(
        reward_model, "process" if config.reward == "process-model" else "outcome", fields, task, tokenizer
    )


def classifier_of(fields: RewardModelFields, model: Any, tokenizer: Any) -> Any:
    """The classifier that is named, or a new one on a copy of the policy's backbone."""
    from harness.rewards.reward_model import from_policy, load

    return load(fields.name, tokenizer, model.dtype) if fields.name else from_policy(model)


def reward_model_fingerprint(fields: RewardModelFields | None) -> dict[str, str] | None:
    """What a named reward model is: by its bytes, or by its name on the hub.  None where none is named."""
    if fields is None or fields.name is None:
        return None
    name = fields.name
    return {"name": name, "sha256": weights_sha256(Path(name))} if Path(name).is_dir() else {"name": name}
