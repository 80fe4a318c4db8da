"""`harness plan`: predicted memory and cost of a run, before anything is downloaded or started."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option as Opt

from harness.cli.options import (
    Algo,
    BudgetText,
    Config,
    Device,
    Dtype,
    GroupSize,
    Lora,
    MaxNewTokens,
    Out,
    ProfileName,
    Set,
    Temperature,
    say,
)

if TYPE_CHECKING:
    from harness.planner.render import TimeLine
    from harness.planner.setting import Setting


def plan(
    algo: Algo = None,
    group_size: GroupSize = None,
    model: Annotated[str | None, Opt(help="nano, a hub id, a folder, a config.json, FILE.gguf. [nano]")] = None,
    budget: BudgetText = None,
    prompt_tokens: Annotated[int, Opt(help="Tokens of the longest prompt.")] = 128,
    limit_gib: Annotated[
        float | None, Opt(help="Memory limit; suggests what makes the run fit. [the CUDA device's, if any]")
    ] = None,
    out: Out = None,
    profile: ProfileName = None,
    config: Config = None,
    set_: Set = None,
    temperature: Temperature = None,
    max_new_tokens: MaxNewTokens = None,
    device: Device = None,
    dtype: Dtype = None,
    gpu: Annotated[str | None, Opt(help="A GPU that is not here, e.g. h100: its memory and published peaks.")] = None,
    measure: Annotated[
        bool,
        Opt("--measure/--no-measure", help="Make rounds here for five seconds, to tell how long the run will take."),
    ] = True,
    lora: Lora = None,
    pipeline: Annotated[
        str | None, Opt(help="Every stage of a pipeline, by name or FILE.toml, in a run's place.")
    ] = None,
    json_: Annotated[bool, Opt("--json", help="Print JSON: bytes, FLOPs, counts.")] = False,
) -> None:
    """Predict memory and cost of a run from its model's config.json alone.  Exit code 1: it does not fit."""
    flags: dict[str, Any] = {
        "algo_name": algo, "group_size": group_size, "model": model, "budget": budget, "out": out,
        "temperature": temperature, "max_new_tokens": max_new_tokens, "device": device, "dtype": dtype,
    }  # fmt: skip
    if pipeline is not None:
        from harness.cli.pipeline.command import plan_pipeline

        given = [name for name, value in {**flags, "profile": profile, "config": config, "lora": lora}.items() if value]
        plan_pipeline(pipeline, [name for name in given if name not in ("model", "budget", "out")], model, budget, out,
                      set_ or [], prompt_tokens)  # fmt: skip
        return
    from harness.config.lora import parse_lora
    from harness.config.run_config import RunConfig, resolve
    from harness.planner.command import planned
    from harness.studies import scale_profiles

    flags["lora"] = parse_lora(lora) if lora is not None else None
    under = scale_profiles.load(profile).of(Path(algo or RunConfig.algo_name).stem) if profile else None
    resolved = resolve(flags, set_ or [], config, under)
    text, fits = planned(resolved, prompt_tokens, limit_gib, json_, _measured if measure else None, gpu)
    say(text)
    if not fits:
        raise typer.Exit(1)


def _measured(setting: Setting) -> TimeLine:
    from harness.accounting.format import clock
    from harness.bench.round_probe import for_plan
    from harness.planner.render import TimeLine

    time = for_plan(setting)
    return TimeLine(f"about {clock(time.seconds)}: {time.how}" if time.seconds else time.how, time.seconds)
