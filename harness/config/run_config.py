"""The configuration of a run: defaults < the model's defaults < a TOML or YAML file < the command line.

Scale fields (learning rate, prompts per round, G, lengths) come from the model's defaults file, fields that define an
algorithm from the algorithm's own file.  An unknown field is an error that lists the valid ones.
"""

from __future__ import annotations

import dataclasses
import datetime
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.accounting.budget import Budget
from harness.config.coercion import build
from harness.config.files.paths import check_name
from harness.config.files.tables import load_table
from harness.config.lora import lora_of
from harness.config.overrides import GROUPS, flatten_names, parse_setting, set_field
from harness.config.start_models import defaults_file, defaults_of


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Every field of a run, resolved.  `algo` and `task` hold the fields of their own dataclasses."""

    algo_name: str = "grpo"  # algorithm, or FILE.py that defines one
    task_name: str = "arithmetic"  # task, FILE.py that defines one, or lm-eval's FILE.yaml
    model: str = "nano"  # nano, smollm2-135m, a hub id, a folder, or FILE.gguf
    algo: dict[str, Any] = field(default_factory=dict)  # fields of the algorithm
    task: dict[str, Any] = field(default_factory=dict)  # fields of the task
    data: str = (
        ""  # JSONL, CSV or parquet of prompts and completions that sft trains on; none: the task's own solutions
    )
    data_completion: str = ""  # template of its columns, e.g. "<think>{reasoning}</think>{answer}"; none: `completion`
    reward: str = "rule"  # rule, process-rule, outcome-model, process-model, or FILE.py:function
    reward_model: dict[str, Any] = field(default_factory=dict)  # fields of a learned reward model
    reward_weights: dict[str, float] = field(default_factory=dict)  # weight of each term, e.g. format, length
    reward_gate: tuple[str, ...] = ()  # format, end: without them a completion earns 0 (2503.19470); comma-separated
    reward_timeout: float = 60.0  # seconds that one call of a FILE.py:function may take; 0: no limit
    reward_failures: float = 0.0  # share of a round's completions that a FILE.py:function may fail on, without a reward
    tools: tuple[str, ...] = ()  # that the policy may call: search, calculator, FILE.py:name; comma-separated
    tool: dict[str, Any] = field(default_factory=dict)  # limits of the tools' use, e.g. calls, corpus
    reward_noise: float = 0.0  # share of the rule's labels that are flipped, 0 to 0.5
    iterations: int = 1  # equal shares of the budget, between which the next two act (2402.03300, Algorithm 1)
    reset_reference: bool = False  # between iterations the reference becomes the policy
    refresh_reward: bool = False  # between iterations the reward model is trained on
    log_reference_kl: bool = False  # measure KL to the initial policy even where the loss needs no reference
    budget: str = "completions=8192"  # UNIT=LIMIT, e.g. completions=8192, flops=1e15
    seed: int = 0  # of all random numbers
    # scale: a model's defaults file may set other defaults
    prompts: int = 32  # P, prompts per round
    group_size: int = 16  # G, completions per prompt
    max_new_tokens: int = 512  # maximum tokens per completion
    lr: float = 1e-6  # learning rate of the policy
    warmup: int = 0  # updates in which the rate rises from 0
    decay: Literal["constant", "linear"] = "constant"  # of the learning rate; linear: to 0 at the end of the budget
    temperature: float = 1.0  # sampling temperature in training
    # A run is what its configuration says, and the arms of a study, which run on several days, read the same prompts:
    # so the day is not the clock's.  Templates of Llama 3 write this one where they have no clock.
    chat_date: str = "2024-07-26"  # the day that a chat template takes for today's, where it writes one
    system_prompt: str = ""  # of every prompt, in the place of the task's own; without a chat template, above it
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)  # of the template, e.g. enable_thinking=false
    # evaluation
    eval_fractions: tuple[float, ...] = (0.0, 0.5, 1.0)  # of the budget, at which the policy is evaluated
    eval_tasks: tuple[str, ...] = ()  # evaluated too: benchmarks, lm-eval's, a FILE.yaml, a folder; comma-separated
    eval_limit: int | None = None  # maximum number of problems per evaluation set
    eval_repeats: dict[str, int] = field(default_factory=dict)  # set -> samples of its problems, at every point: avg@K
    eval_split: Literal["test", "selection"] = "test"  # selection: what settings are tuned on
    eval_samples: int = 0  # samples of each in-domain problem at temperature 1, start and end: pass@k, maj@k
    keep_outcomes: Literal["all", "ends"] = "all"  # of each problem: at every point, or start and end
    lora: dict[str, Any] = field(default_factory=dict)  # fields of an adapter that is trained in the model's place
    # machine
    device: str = "auto"  # auto, cpu, cuda, cuda:1
    dtype: Literal["auto", "float32", "bfloat16", "float64"] = "auto"  # auto: fp32 on CPU, bf16 autocast on CUDA
    micro_batch_tokens: int = 4096  # tokens of one forward and backward
    gradient_checkpointing: bool = False  # a third more compute, few activations
    optimizer: Literal["adamw", "adamw8bit", "paged_adamw8bit"] = "adamw"  # the 8-bit ones are bitsandbytes'
    parallel: Literal["ddp", "fsdp2"] = "ddp"  # of several processes: each the whole model, or a share of it
    cpu_offload: bool = False  # with fsdp2: shares of weights, gradients and moments stay on the CPU
    reference_device: Literal["device", "cpu"] = "device"  # cpu: on the device for its forward passes alone
    rollout_batch_size: int = 256  # completions decoded at once
    eval_batch_size: int | None = None  # the same in evaluation; none: rollout_batch_size
    threads: str = "fixed"  # of the CPU: N; fixed: torch's choice; auto: fewer where other work slows them down
    # where
    name: str | None = None  # folder of the run, under `out`; none: ALGO-TASK-sSEED
    out: str = "results"  # parent folder of runs
    keep_checkpoints: int = 2  # number of checkpoints to keep, one to fall back on; 0 writes none
    checkpoint_every: int = 10  # rounds between checkpoints
    track: tuple[str, ...] = ()  # trackers beside the record: wandb, trackio, mlflow, swanlab; comma-separated
    track_project: str = "post-training-harness"  # their project or experiment
    resume: bool = False  # go on with the run of that folder, or of that name
    sources: dict[str, str] = field(default_factory=dict)  # field -> profile | file | flag; the rest is default

    @property
    def parsed_budget(self) -> Budget:
        return Budget.parse(self.budget)

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def resolve(
    flags: dict[str, Any], settings: list[str], file: str | None, under: dict[str, Any] | None = None
) -> RunConfig:
    """Merge the layers.  `settings` are the `--set field=value` words.  Flags that are None are unset.  `under` is one
    more layer, below the file."""
    layers: list[tuple[str, dict[str, Any]]] = [("file", under)] if under else []
    if file is not None:
        layers.append(("file", load_table(Path(file))))
    overrides = {k: v for k, v in flags.items() if v is not None}
    for word in settings:
        set_field(overrides, *parse_setting(word))
    layers.append(("flag", overrides))
    return merge(layers)


def merge(layers: list[tuple[str, dict[str, Any]]]) -> RunConfig:
    """(source, table) layers, later ones over earlier ones, and below them the defaults of the model that they name."""
    layers = [(source, flatten_names(layer)) for source, layer in layers]
    model = next((layer["model"] for _, layer in reversed(layers) if "model" in layer), RunConfig.model)
    if not isinstance(model, str):
        raise ValueError(f"model: must be an embedded model's name, a folder or a hub id, not {model!r}")
    layers.insert(0, ("profile", _defaults_layer(model)))
    merged: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, layer in layers:
        for name, value in layer.items():
            if isinstance(value, dict) and name in GROUPS:
                merged.setdefault(name, {}).update(value)
                sources.update({f"{name}.{k}": source for k in value})
            else:
                merged[name], sources[name] = value, source
    merged["sources"] = sources
    return check(build(RunConfig, merged, ""))


def _defaults_layer(model: str) -> dict[str, Any]:
    """The fields of a model's defaults file.  Raises ValueError naming the file where one of them is wrong."""
    fields = defaults_of(model)
    try:
        check(build(RunConfig, fields, ""))
    except ValueError as error:
        raise ValueError(f"{defaults_file(model)}: {error}") from error
    return fields


def check(config: RunConfig) -> RunConfig:
    """Check what a type cannot express.  Raises ValueError naming the field."""
    Budget.parse(config.budget)
    if lora_of(config.lora) is not None and config.reference_device == "cpu":
        raise ValueError(
            "reference_device: with lora the reference is the policy's own base, which stays on the device"
        )
    if config.name is not None:
        check_name(config.name, "name")
    sizes = ("prompts", "group_size", "max_new_tokens", "micro_batch_tokens", "rollout_batch_size", "checkpoint_every")
    for least, names in ((1, (*sizes, "iterations")), (0, ("seed", "warmup", "keep_checkpoints"))):
        for name in names:
            if getattr(config, name) < least:
                raise ValueError(f"{name}: must be at least {least}, not {getattr(config, name)}")
    for name in ("temperature", "lr"):
        if not getattr(config, name) > 0:
            raise ValueError(f"{name}: must be positive, not {getattr(config, name)}")
    if config.threads not in ("fixed", "auto") and not (config.threads.isdecimal() and int(config.threads)):
        raise ValueError(f"threads: must be a number from 1, fixed or auto, not '{config.threads}'")
    try:
        datetime.date.fromisoformat(config.chat_date)
    except ValueError as error:
        raise ValueError(f"chat_date: must be a day as in 2024-07-26, not {config.chat_date!r}") from error
    if config.iterations == 1 and (config.reset_reference or config.refresh_reward):
        raise ValueError("iterations: reset_reference and refresh_reward act between iterations: ask for 2 or more")
    if config.refresh_reward and not config.reward.endswith("-model"):
        raise ValueError(f"refresh_reward: reward={config.reward} has no model to refresh")
    if config.cpu_offload and config.parallel != "fsdp2":
        raise ValueError("cpu_offload: it keeps the shares of parallel=fsdp2 on the CPU, not whole models")
    if config.parallel == "fsdp2" and config.optimizer != "adamw":
        raise ValueError(f"optimizer: {config.optimizer} cannot share its moments out; parallel=fsdp2 takes adamw")
    if config.reward_timeout < 0:
        raise ValueError(f"reward_timeout: must be a number of seconds, or 0 for no limit, not {config.reward_timeout}")
    if not 0 <= config.reward_failures <= 1:
        raise ValueError(f"reward_failures: must lie in 0..1, not {config.reward_failures}")
    if not 0 <= config.reward_noise <= 0.5:
        raise ValueError(f"reward_noise: must lie in 0..0.5, not {config.reward_noise}")
    if config.reward_noise and config.reward != "rule":
        raise ValueError(f"reward_noise: it flips the 0 and 1 of reward=rule, not what reward={config.reward} says")
    for name in ("eval_limit", "eval_batch_size"):
        if getattr(config, name) is not None and getattr(config, name) < 1:
            raise ValueError(f"{name}: must be at least 1, not {getattr(config, name)}")
    if config.eval_samples < 0 or config.eval_samples == 1:
        raise ValueError(f"eval_samples: 0, or at least 2 for an unbiased pass@1, not {config.eval_samples}")
    if few := [name for name, k in config.eval_repeats.items() if k < 2]:
        k = config.eval_repeats[few[0]]
        raise ValueError(f"eval_repeats.{few[0]}: at least 2 samples, for the variance within a problem, not {k}")
    if any(not 0 <= f <= 1 for f in config.eval_fractions):
        raise ValueError(f"eval_fractions: must lie in 0..1, not {config.eval_fractions}")
    return config
