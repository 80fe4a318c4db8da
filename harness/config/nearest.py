"""Which field somebody meant: names that are almost right, and names that other trainers use."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

# What TRL, verl and OpenRLHF call it -> what it is called here.
ELSEWHERE = {
    "learning_rate": "lr", "actor_learning_rate": "lr", "beta": "algo.kl_coef", "kl_beta": "algo.kl_coef",
    "init_kl_coef": "algo.kl_coef", "kl_loss_coef": "algo.kl_coef", "kl_coeff": "algo.kl_coef",
    "num_generations": "group_size", "n_samples_per_prompt": "group_size", "rollout_n": "group_size",
    "max_completion_length": "max_new_tokens", "max_response_length": "max_new_tokens",
    "response_length": "max_new_tokens", "generate_max_len": "max_new_tokens", "max_tokens": "max_new_tokens",
    "epsilon": "algo.clip_low", "eps_clip": "algo.clip_low", "cliprange": "algo.clip_low",
    "clip_ratio": "algo.clip_low",
    "epsilon_high": "algo.clip_high", "clip_ratio_high": "algo.clip_high", "delta": "algo.clip_dual",
    "num_iterations": "algo.epochs", "ppo_epochs": "algo.epochs", "num_ppo_epochs": "algo.epochs",
    "max_epochs": "algo.epochs", "num_mini_batches": "algo.minibatches", "lam": "algo.gae_lambda",
    "lambd": "algo.gae_lambda", "vf_coef": "algo.value_coef", "cliprange_value": "algo.value_clip",
    "critic_learning_rate": "algo.critic_lr", "entropy_coeff": "algo.entropy_coef",
    "loss_type": "algo.loss_aggregation", "scale_rewards": "algo.normalize", "loss_agg_mode": "algo.loss_aggregation",
    "mask_truncated_completions": "algo.drop_truncated", "advantage_estimator": "algo_name",
    "max_steps": "budget", "num_train_epochs": "budget", "total_episodes": "budget", "num_episodes": "budget",
    "per_device_train_batch_size": "micro_batch_tokens", "gradient_accumulation_steps": "micro_batch_tokens",
    "train_batch_size": "prompts", "batch_size": "prompts", "warmup_steps": "warmup", "lr_scheduler_type": "decay",
    "bf16": "dtype", "fp16": "dtype", "precision": "dtype", "model_name_or_path": "model", "pretrain": "model",
    "output_dir": "out", "save_path": "out", "run_name": "name", "save_steps": "checkpoint_every",
    "save_freq": "checkpoint_every", "save_total_limit": "keep_checkpoints", "eval_steps": "eval_fractions",
    "optim": "optimizer", "reward_funcs": "reward", "prompt_data": "task.train_file", "dataset_name": "task.hub",
    "input_key": "task.question", "label_key": "task.answer", "num_threads": "threads",
}  # fmt: skip
IN_TABLES = {name.partition(".")[2]: name for name in ELSEWHERE.values() if "." in name}  # kl_coef -> algo.kl_coef


def nearest(name: str, valid: Sequence[str], prefix: str = "") -> str | None:
    """The field that was meant by `name` in the table `prefix`, as it is typed behind --set; None where none is near.

    >>> nearest("learning_rate", ["lr", "seed"]), nearest("sede", ["lr", "seed"]), nearest("colour", ["lr", "seed"])
    ('lr', 'seed', None)
    >>> nearest("beta", ["clip_low", "kl_coef"], "algo."), nearest("kl_coef", ["lr", "seed"])
    ('algo.kl_coef', 'algo.kl_coef')
    """
    meant = ELSEWHERE.get(name, "")
    if meant.startswith(prefix) and meant.removeprefix(prefix) in valid:
        return meant
    close = difflib.get_close_matches(name, valid, 1, 0.7)
    if close:
        return prefix + close[0]
    if prefix:  # a field of the run in an algorithm's table, or the other way round
        return meant or None
    return IN_TABLES.get(name) or meant or None
