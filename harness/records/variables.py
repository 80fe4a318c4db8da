"""Environment variables that could change a run: its configuration says what it does, and they do not.

`accelerate launch` hands its options and its file (~/.cache/huggingface/accelerate/default_config.yaml, which a run
never reads) on as variables; shells, job systems and containers set others.  One table says what becomes of each:

    ignored    has no effect here: the configuration decides; a notice where it asks for something else
    refused    it asks for what a run cannot do
    launcher   it says which of a run's processes this is (harness/processes); refused where a command has but one
    recorded   it acts in a library below this one, so that the record holds it
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from harness.processes.group import current


@dataclass(frozen=True)
class Rule:
    """For the variables of a name (* stands for any end), the first rule that fits holds."""

    name: str
    treatment: Literal["ignored", "refused", "launcher", "recorded"]
    effect: str
    harmless: tuple[str, ...] = ()  # values (in lower case) that ask for nothing


OFF = ("", "0", "false", "no", "off")
ONE = ("", "1", "-1")
LAUNCHER = ("RANK", "LOCAL_RANK")
ONE_PROCESS = (
    "accelerate launch --cpu starts one process, whatever --num_processes says; "
    "accelerate launch --multi_gpu and torchrun start several, on CPUs too"
)

TABLE = (
    Rule("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "ignored", "divides every gradient", ONE),
    Rule("ACCELERATE_MIXED_PRECISION", "ignored", "the precision; here: dtype", OFF),
    Rule("ACCELERATE_DYNAMO_BACKEND", "ignored", "compiles the model, and computes in TF32 then", OFF),
    Rule("ACCELERATE_USE_CPU", "ignored", "the device; here: device", OFF),
    Rule("ACCELERATE_TORCH_DEVICE", "ignored", "the device; here: device", ("",)),
    Rule("ACCELERATE_USE_DEEPSPEED", "refused", "trains by DeepSpeed", OFF),
    Rule("ACCELERATE_USE_FSDP", "refused", "shards the model over processes; here: parallel=fsdp2", OFF),
    Rule("ACCELERATE_USE_MEGATRON_LM", "refused", "trains by Megatron-LM", OFF),
    Rule("ACCELERATE_USE_PARALLELISM_CONFIG", "refused", "spreads the model over devices", OFF),
    Rule("ACCELERATE_USE_SAGEMAKER", "refused", "trains by SageMaker's data parallelism", OFF),
    Rule("WORLD_SIZE", "launcher", "the processes of torchrun and accelerate launch: each would do the same", ONE),
    # Job systems count their tasks here, which may be runs of their own: no process group is made of them.
    *(Rule(n, "ignored", "the processes of an MPI job", ONE) for n in ("PMI_SIZE", "MV2_COMM_WORLD_SIZE")),
    Rule("OMPI_COMM_WORLD_SIZE", "ignored", "the processes of an MPI job", ONE),
    *(Rule(n, "ignored", "the place in a group of processes", ("", "0", "-1")) for n in LAUNCHER),
    Rule("FORK_LAUNCHED", "ignored", "processes that a notebook has started", OFF),
    # Whatever else accelerate reads is an option of one of the above.
    *(Rule(n, "ignored", "options of the above", ("*",)) for n in ("ACCELERATE_*", "FSDP_*", "PARALLELISM_CONFIG_*")),
    Rule("MEGATRON_LM_*", "ignored", "options of the above", ("*",)),
    Rule("NVIDIA_TF32_OVERRIDE", "recorded", "TF32 in fp32 matrix products, over all settings"),
    Rule("TORCH_ALLOW_TF32_*", "recorded", "TF32 in fp32 matrix products"),
    Rule("CUBLAS*", "recorded", "workspaces: which kernels, and whether they repeat bit for bit"),
    Rule("CUDNN_*", "recorded", "which kernels"),
    Rule("CUDA_VISIBLE_DEVICES", "recorded", "which device"),
    Rule("TORCH_BLAS_*", "recorded", "which library multiplies matrices"),
    Rule("TORCH_CUDNN_*", "recorded", "which kernels"),
    Rule("TORCHINDUCTOR_*", "recorded", "what is compiled, and how"),
    Rule("PYTORCH_*", "recorded", "allocation and tuned kernels"),
    Rule("ATEN_CPU_CAPABILITY", "recorded", "which instructions the CPU's kernels use"),
    *(Rule(n, "recorded", "precision and instructions of matrix products on the CPU") for n in ("ONEDNN_*", "DNNL_*")),
    *(
        Rule(n, "recorded", "threads and order of sums on the CPU")
        for n in ("OMP_*", "GOMP_*", "MKL_*", "KMP_*", "OPENBLAS_*")
    ),
    *(Rule(n, "recorded", "kernels from the hub") for n in ("USE_HUB_KERNELS", "DISABLE_KERNEL_MAPPING")),
)


def _rule(name: str) -> Rule | None:
    return next((rule for rule in TABLE if fnmatchcase(name, rule.name)), None)


def _those(treatment: str, environment: Mapping[str, str]) -> Iterator[tuple[str, str, Rule]]:
    for name, value in sorted(environment.items()):
        if (rule := _rule(name)) is not None and rule.treatment == treatment:
            yield name, value, rule


def _asks(value: str, rule: Rule) -> bool:
    return "*" not in rule.harmless and value.lower() not in rule.harmless


def recorded(environment: Mapping[str, str]) -> dict[str, str]:
    """Those that are set and act in a library below."""
    return {name: value for name, value, _ in _those("recorded", environment)}


def notices(environment: Mapping[str, str]) -> list[str]:
    """Those that are set, ask for something, and are ignored."""
    used = LAUNCHER if current().size > 1 else ()
    rows = [row for row in _those("ignored", environment) if row[0] not in used]
    asked = [(name, value, rule) for name, value, rule in rows if _asks(value, rule)]
    said = [f"{name}={value} in the environment is ignored ({rule.effect})" for name, value, rule in asked]
    alone = environment.get("ACCELERATE_USE_CPU", "").lower() == "true" and "MASTER_PORT" in environment
    return [*said, ONE_PROCESS] if alone and current().size == 1 else said


def check(environment: Mapping[str, str]) -> None:
    """Raises ValueError, one line, where a variable asks for what a run cannot do."""
    if current().size == 1:
        for name, value, rule in _those("launcher", environment):
            if _asks(value, rule):
                raise ValueError(
                    f"{name}={value} in the environment ({rule.effect}): of several processes are `harness run` and "
                    "`harness eval` alone; unset it, or start this without a launcher"
                )
    for name, value, rule in _those("refused", environment):
        if _asks(value, rule):
            raise ValueError(
                f"{name}={value} in the environment ({rule.effect}): a run has one model per process and no other "
                "trainer; unset it, or start `harness run` without it"
            )


@contextmanager
def hidden() -> Iterator[None]:
    """The process's environment without what is ignored or refused."""
    kept = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if (rule := _rule(name)) and rule.treatment != "recorded"
    }
    try:
        yield
    finally:
        os.environ.update(kept)
