"""The peer's side: TRL's GRPOTrainer.  A step is one iteration of its own `train()` loop, from one update to the next.

Its arguments give the same loss as ours (eq. 3 of 2402.03300: sequence means, group standard deviation, one update per
round) and switch off what is not measured: logging, saving, progress bars.  TRL is an optional dependency, and
imported inside functions.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoTokenizer, TrainerCallback

from evals.tasks import Problem, Task
from harness.bench.vs_trl.job import Job, Mode, config_of, material
from harness.bench.vs_trl.worker import Channel, Memory, ready, rehearse
from harness.config.rewards import RewardFunction, load_function
from harness.models.loading import pick_device
from harness.rollout.tokenization import PromptTokenizer

ENGINES: dict[str, dict[str, Any]] = {
    "generate": {},  # a dynamic cache
    "static": {"cache_implementation": "static"},
    "continuous": {"use_transformers_continuous_batching": True},
}
EPOCH = 64  # cycles in the dataset, so that a run does not end


def serve(job: Job, channel: Channel) -> None:
    import trl.trainer.grpo_trainer  # before memory is measured  # noqa: F401

    cuda = pick_device(job.device).startswith("cuda")
    rehearse(job)
    memory = Memory(cuda)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = trainer_of(job, scratch)
        memory.read()
        trainer.add_callback(Steps(trainer, channel, memory))
        channel.send(ready(memory, str(trainer.accelerator.device)))
        trainer.train()


def trainer_of(job: Job, scratch: str) -> Any:
    """A GRPOTrainer built from the folder, as a user builds it."""
    from trl.trainer.grpo_trainer import GRPOTrainer

    task, problems = material(job)
    tokenizer = AutoTokenizer.from_pretrained(job.folder, trust_remote_code=False)
    render = PromptTokenizer(tokenizer, 10**9, job.max_new_tokens).render
    rows = [{"prompt": render(p), "problem": k} for k, p in enumerate(problems)]
    ends = [] if job.forced else [tokenizer.eos_token_id]
    rewards: Any = reward_function(task, problems, load_function(config_of(job).reward), ends)
    trainer: Any = GRPOTrainer(
        job.folder,
        rewards,
        arguments(job, scratch),
        Dataset.from_list(rows * EPOCH),
        processing_class=tokenizer,
    )
    if job.forced:  # as an empty `sampler.ends`: no token ends a completion, and none is suppressed
        trainer.eos_token_ids = []
        trainer.generation_kwargs["eos_token_id"] = None
        trainer.generation_config.eos_token_id = None
        trainer.model.generation_config.eos_token_id = None
    return trainer


def reward_function(
    task: Task, problems: list[Problem], reward: RewardFunction, ends: list[int]
) -> Callable[..., list[float]]:
    """Our verifier and reward as a reward function for TRL; `ends` are the end tokens."""

    def rewards(completions: list[str], completion_ids: list[list[int]], problem: list[int], **_: Any) -> list[float]:
        values = []
        for text, ids, index in zip(completions, completion_ids, problem, strict=True):
            verdict = task.verify(problems[index], text, ids[-1] in ends)
            values.append(float(reward(problems[index], text, verdict)))
        return values

    return rewards


def arguments(job: Job, scratch: str) -> Any:
    """Our run's settings as a GRPOConfig."""
    from trl import GRPOConfig

    mode = job.mode or Mode(engine="generate")
    device, rows = pick_device(job.device), job.prompts * job.group_size
    bf16 = job.dtype == "bfloat16" or (job.dtype == "auto" and device.startswith("cuda"))
    return GRPOConfig(
        output_dir=scratch,
        # the round: all completions are generated at once and train one update
        num_generations=job.group_size,
        max_completion_length=job.max_new_tokens,
        per_device_train_batch_size=rows // mode.parts,
        gradient_accumulation_steps=mode.parts,
        steps_per_generation=mode.parts,
        num_iterations=1,
        shuffle_dataset=False,
        max_steps=10**6,
        **ENGINES[mode.engine],
        # the distribution
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        # the loss
        beta=job.beta,
        loss_type="grpo",
        scale_rewards="group",
        epsilon=0.2,
        use_bias_correction_kl=False,  # on by default since TRL 1.x: the KL times rho, which is not in eq. 3
        # the optimiser
        learning_rate=job.lr,
        lr_scheduler_type="constant",
        warmup_steps=0,
        weight_decay=0.0,
        adam_beta1=0.9,
        adam_beta2=0.999,
        adam_epsilon=1e-8,
        max_grad_norm=1.0,
        # the machine: fp32 weights, computed in bf16 where ours are
        model_init_kwargs={"dtype": "float32"},
        bf16=bf16,
        use_cpu=device == "cpu",
        dataloader_pin_memory=device != "cpu",
        gradient_checkpointing=mode.checkpointing,
        # nothing else
        report_to="none",
        logging_strategy="no",
        save_strategy="no",
        disable_tqdm=True,
    )


class Steps(TrainerCallback):
    """Pauses the peer's loop after each update until the next step is requested, and times each step."""

    def __init__(self, trainer: Any, channel: Channel, memory: Memory) -> None:
        self.trainer, self.channel, self.memory = trainer, channel, memory
        self.spent: dict[str, float] = {}
        self.tokens, self.start = 0, 0.0
        self._time("_generate", "rollout", self._count)
        self._time("_calculate_rewards", "reward", lambda _: None)

    def _time(self, method: str, phase: str, observe: Callable[[Any], None]) -> None:
        """Add the seconds of the trainer's `method` to `phase` from now on."""
        inner = getattr(self.trainer, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = self._now()
            result = inner(*args, **kwargs)
            self.spent[phase] = self.spent.get(phase, 0.0) + self._now() - start
            observe(result)
            return result

        setattr(self.trainer, method, timed)

    def _count(self, generated: Any) -> None:
        self.tokens += sum(map(len, generated[1]))

    def _now(self) -> float:
        if self.memory.cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def _wait(self, control: Any) -> None:
        if not self.channel.wait():
            control.should_training_stop = True
        self.spent, self.tokens, self.start = {}, 0, self._now()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._wait(control)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        whole = self._now() - self.start
        self.channel.send(
            {
                **self.spent,
                "update": whole - sum(self.spent.values()),
                "end_to_end": whole,
                "tokens": self.tokens,
                "reward_mean": self.trainer._metrics["train"]["reward"][-1],
                **self.memory.read(),
            }
        )
        self._wait(control)
