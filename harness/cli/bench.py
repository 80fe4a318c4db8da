"""`harness bench`: commands that measure speed and memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from typer import Option as Opt

from harness.cli.options import Set

bench = typer.Typer(
    help="Speed and memory, alone and against TRL; each suite writes a record.",
    rich_markup_mode=None,
)

ModelShape = Annotated[str, Opt(help="nano, smollm2-135m, tiny, trl-llama, qwen2.5-0.5b, qwen2.5-1.5b, qwen2.5-7b.")]


@bench.callback(invoke_without_command=True)
def _bench(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@bench.command(epilog="Example: harness bench peers --model nano --cases natural --repeats 5")
def peers(
    model: ModelShape = "nano",
    cases: Annotated[str, Opt(help="natural, forced (all completions at the token limit). [as the model allows]")] = "",
    betas: Annotated[str, Opt(help="KL coefficients, comma-separated.")] = "0,0.04",
    engines: Annotated[str, Opt(help="TRL's ways to generate.")] = "generate,static,continuous",
    checkpointing: Annotated[bool, Opt(help="Also try TRL with gradient checkpointing.")] = True,
    parts: Annotated[str, Opt(help="Numbers of micro-batches to try TRL's fastest mode with.")] = "4,16",
    prompts: Annotated[int, Opt(help="P, prompts per step.")] = 32,
    group_size: Annotated[int, Opt(help="G, completions per prompt.")] = 16,
    max_new_tokens: Annotated[int, Opt(help="Maximum tokens per completion.")] = 56,
    repeats: Annotated[int, Opt(help="Pairs of steps per mode.")] = 5,
    device: Annotated[str, Opt(help="auto, cpu, cuda.")] = "auto",
    dtype: Annotated[str, Opt(help="auto: fp32 on CPU, bf16 autocast on CUDA; float32, bfloat16.")] = "auto",
    set_: Set = None,
    out: Annotated[Path, Opt(help="Folder of peers.json.")] = Path("results/bench"),
) -> None:
    """Time our GRPO and TRL's GRPOTrainer, in alternating steps."""
    from harness.bench.vs_trl.comparison import Options, bench

    options = Options(
        model=model,
        cases=_words(cases),
        betas=tuple(_number(x, "betas") for x in _words(betas)),
        engines=_words(engines),
        checkpointing=checkpointing,
        parts=tuple(int(_number(x, "parts")) for x in _words(parts)),
        prompts=prompts,
        group_size=group_size,
        max_new_tokens=max_new_tokens,
        repeats=repeats,
        device=device,
        dtype=dtype,
        settings=tuple(set_ or []),
        out=out,
    )
    bench(options, typer.echo)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _number(word: str, flag: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ValueError(f"{flag}: '{word}' is not a number") from None


SUITES = {  # command -> its module in harness.bench, its default model, what it measures
    "algos": (
        "algorithms",
        "nano",
        "Memory by part, tokens per second by phase, and FLOPs of every algorithm at one shape.",
    ),
    "limit": (
        "roofline",
        "nano",
        "Roofline: necessary FLOPs against the rate of the same matrix products alone; decoding against bandwidth.",
    ),
    "scale": (
        "scaling",
        "trl-llama",
        "Cost per completion by group size, length and prompts per round, with fitted exponents.",
    ),
}


def _command(module: str, default: str) -> Callable[..., None]:
    def run(
        model: ModelShape = default,
        arms: Annotated[str, Opt(help="grpo, grpo_kl, ppo_shared, ppo, ppo_kl, online_rft, rft.")] = "",
        prompts: Annotated[int, Opt(help="P, prompts per round.")] = 32,
        group_size: Annotated[int, Opt(help="G, completions per prompt.")] = 16,
        prompt_tokens: Annotated[int, Opt(help="Tokens of every prompt; 0: the task's own length.")] = 0,
        max_new_tokens: Annotated[
            int, Opt(help="Tokens of every completion (with nano in `limit`: the maximum).")
        ] = 56,
        rounds: Annotated[int, Opt(help="Timed rounds, after one warm-up round.")] = 3,
        most: Annotated[int, Opt(help="Maximum tokens generated per round of `scale`.")] = 65536,
        device: Annotated[str, Opt(help="auto, cpu, cuda.")] = "auto",
        dtype: Annotated[str, Opt(help="auto: fp32 on CPU, bf16 autocast on CUDA; float32, bfloat16.")] = "auto",
        set_: Set = None,
        out: Annotated[Path, Opt(help="Folder of the record.")] = Path("results/bench"),
    ) -> None:
        from importlib import import_module

        from harness.bench.workload import Options

        options = Options(
            model=model, arms=_words(arms), prompts=prompts, group_size=group_size, prompt_tokens=prompt_tokens,
            max_new_tokens=max_new_tokens, rounds=rounds, most=most, device=device, dtype=dtype,
            settings=tuple(set_ or []), out=out,
        )  # fmt: skip
        import_module(f"harness.bench.{module}").bench(options, typer.echo)

    return run


for _name, (_module, _model, _about) in SUITES.items():
    bench.command(_name, help=_about, epilog=f"Example: harness bench {_name} --model {_model}")(
        _command(_module, _model)
    )
