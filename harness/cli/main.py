"""The command line.  Each command is a few lines; the work is done in other packages, imported when a command runs.

Exit codes: 0 done, 1 the run failed, 2 the user's input is wrong (one plain line), 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer import Option as Opt

from harness.cli import mistakes
from harness.cli.bench import bench
from harness.cli.foreign import imports
from harness.cli.options import say
from harness.cli.outputs.evaluate import evaluate
from harness.cli.outputs.push import push
from harness.cli.outputs.show import show
from harness.cli.pipeline.command import pipeline
from harness.cli.plan import plan
from harness.cli.pretrain import pretrain
from harness.cli.run import run
from harness.cli.study import ablate, calibrate, compare, fold, power, report, rescore
from harness.config.errors import PushFailed, RunFailed
from harness.processes.group import current
from harness.processes.launch import asked
from harness.processes.watch import RankLost

app = typer.Typer(
    help="Compare GRPO, PPO and rejection sampling under matched budgets, with one training loop.",
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

# Newer versions of Typer bundle click, older ones import it: this works with both.
ClickException: type[Exception] = typer.BadParameter.__mro__[2]


def _version(asked: bool) -> None:
    if asked:
        from harness.records.environment import version_line

        say(version_line())
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _harness(
    context: typer.Context,
    version: Annotated[bool, Opt("--version", help="Print the version and stop.", callback=_version, is_eager=True)] = (
        False
    ),
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
    elif context.invoked_subcommand not in ("run", "eval") and (count := asked(os.environ)) > 1:
        raise ValueError(
            f"WORLD_SIZE={count}: several processes share `harness run` and `harness eval` alone; start "
            f"`harness {context.invoked_subcommand}` without a launcher"
        )


app.command(epilog="Example: harness run --algo grpo --group-size 16 --set algo.kl_coef=0.01")(run)
app.command(epilog="Example: harness compare --algos grpo,ppo,rft --seeds 5 --budget generated_tokens=200000")(compare)
app.command(epilog="Example: harness ablate compare_nano --workers 2 --dry-run")(ablate)
app.command(epilog="Example: harness pipeline r1_nano --dry-run")(pipeline)
app.command(epilog="Example: harness power compare_nano")(power)
app.command(epilog="Example: harness report results/compare_nano")(report)
app.command(epilog="Example: harness fold results/my_study")(fold)
app.command(epilog="Example: harness rescore results/compare_nano --show 5")(rescore)
app.command()(calibrate)
app.command(epilog="Example: harness plan --model Qwen/Qwen2.5-0.5B --algo ppo --device cuda --limit-gib 80")(plan)
app.command()(pretrain)
app.add_typer(bench, name="bench")
app.add_typer(imports, name="import")


@app.command("list")
def list_(
    what: Annotated[
        str, typer.Argument(help="algos, tasks, models, studies, fields; or an algorithm: its fields and scale.")
    ] = "all",
    model: Annotated[str | None, Opt(help="Of an algorithm: with this model's scale. [nano]")] = None,
    paradigm: Annotated[bool, Opt("--paradigm", help="A table of how the algorithms differ, from the code.")] = False,
    family: Annotated[
        bool, Opt("--family", help="GRPO's relatives by name, and the choices they are made of.")
    ] = False,
    presets: Annotated[bool, Opt("--presets", help="What frameworks compute under the name of GRPO.")] = False,
    markdown: Annotated[bool, Opt("--markdown", help="Every field, or the family or the presets, as a page.")] = False,
) -> None:
    """Algorithms, tasks, models and studies, with their fields and what they mean."""
    from harness.cli import reference
    from harness.cli.lists import catalog
    from harness.cli.lists import family as relatives

    if family or presets:
        pages = (relatives.family_page, relatives.dialects_page) if markdown else (relatives.family, relatives.presets)
        say(pages[0]() if family else pages[1]())
        return
    say(reference.page() if markdown else catalog.paradigm() if paradigm else catalog.listing(what, model or "nano"))


@app.command(epilog="Example: harness merge results/grpo-arithmetic-s0 --out merged")
def merge(
    adapter: Annotated[Path, typer.Argument(help="A folder with an adapter, or the run that trained it.")],
    out: Annotated[Path, Opt(help="Folder of the whole model.")],
) -> None:
    """Merge an adapter into its base: a folder that transformers loads without peft."""
    from harness.config.start_models import final_of
    from harness.models.adapters.merging import merge_folder

    merge_folder(str(final_of(adapter)), out)
    say(f"written to {out}")


app.command("eval", epilog="Example: harness eval results/grpo-gsm8k-s0 --eval-tasks math500 --json")(evaluate)
app.command(epilog="Example: harness show results/grpo-arithmetic-s0")(show)
app.command(epilog="Example: harness push results/grpo-arithmetic-s0 me/my-model --private")(push)


def main() -> None:
    """The console script: an error is one plain line and an exit code."""
    try:
        code = app(standalone_mode=False)
    except ClickException as error:
        code = _fail(mistakes.usage(error, sys.argv[1:]), 2)
    except ValueError as error:
        code = _fail(mistakes.with_new_name(str(error)), 2)
    except OSError as error:  # a name that is too long, a folder for a file, a full disk: outside a run
        code = _fail(f"{f'{error.filename}: ' if error.filename else ''}{error.strerror or error}", 2)
    except RecursionError:
        code = _fail("a file that was read is nested too deeply", 2)
    except RunFailed as error:
        code = _fail(str(error) if isinstance(error, PushFailed) else f"the run failed: {error}", 1)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except RankLost as error:
        code = _fail(f"the run failed: {error}", 1)
    if code == 130:  # Typer may turn the interrupt into a code itself
        say("interrupted", err=True)
    code = code if isinstance(code, int) else 0
    if code and current().size > 1:  # the others may be gone: nothing waits for them at the interpreter's end
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _fail(message: str, code: int) -> int:
    """Print the error as one line on stderr; of several processes that end by it one does."""
    if current().speaks:
        say(f"error: {' '.join(message.split())}", err=True)
    return code


if __name__ == "__main__":
    main()
