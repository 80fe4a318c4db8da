"""What a user types, and what comes back: exit codes, one plain line, nothing written that should not be."""

from __future__ import annotations

import json
import math
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.utils import logging as hub_logging

from evals import tasks
from evals.statistics.estimates import wilson
from harness.accounting.budget import UNITS
from harness.cli import main
from harness.models.loading import silenced
from harness.training.evaluation import bounds
from harness.training.trainer import Trainer
from tests.harness.tiny_models import SETTINGS, files_of
from tests.helpers import ROOT, close

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """`harness WORDS` in this process: (exit code, stdout, stderr)."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["harness", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main.main()
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out, said.err

    return run


def sized(*words: str) -> list[str]:
    return [*words, *(word for s in SETTINGS for word in ("--set", s))]


def one_line(text: str) -> str:
    """The only line of stderr, without its line end."""
    assert text.endswith("\n") and text.count("\n") == 1, f"not one line: {text!r}"
    assert not set(text) & set("╭─│╰┌└━"), "a panel"
    assert "Traceback" not in text
    return text.strip()


# ---------------------------------------------------------------- help


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"]])
def test_help_is_instant_and_needs_no_torch(words: list[str]) -> None:
    code = (
        "import sys\nfrom harness.cli.main import main\n"
        f"sys.argv = ['harness', *{words}]\n"
        "try:\n    main()\nexcept SystemExit as stop:\n"
        "    heavy = {'torch', 'transformers', 'datasets', 'lm_eval', 'accelerate'} & set(sys.modules)\n"
        "    print('heavy:', sorted(heavy), 'code:', stop.code)\n"
    )
    fastest = float("inf")
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        fastest = min(fastest, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert "heavy: [] code: 0" in done.stdout, done.stdout + done.stderr
    assert fastest < 1.0  # seconds of processor time
    assert ("--group-size" if "run" in words else "pretrain") in done.stdout


def test_every_flag_of_run_is_there(call: Call) -> None:
    code, said, _ = call("run", "--help")
    flags = """--algo --group-size --model --task --train-file --test-file --eval-file --eval-tasks --eval-limit
        --eval-samples --reward --budget --seed --name --out --config --set --temperature --max-new-tokens --device
        --dtype --keep-checkpoints --resume --dry-run"""
    assert code == 0 and set(flags.split()) <= set(re.findall(r"--[a-z-]+", said))


def test_no_command_is_help(call: Call) -> None:
    code, said, _ = call()
    assert code == 0 and "run" in said and "pretrain" in said


ADDED = ("reward_weights = {}", "reward_noise = 0.0", "numbers = (3, 4)", "least = 1", "most = 30")


def test_list_shows_fields_and_defaults(call: Call) -> None:
    code, said, _ = call("list")
    assert code == 0
    for text in ("grpo", "kl_coef = 0.04", "arithmetic", "harness_gsm8k", "nano", "checkpoint_every", *ADDED):
        assert text in said
    assert call("list", "speed")[0] == 2
    code, said, _ = call("list", "--paradigm")
    assert code == 0 and "| ppo " in said and "algos/sft.py" in said and "kl_coef" not in said


# ---------------------------------------------------------------- bad input


HOLLOW = {"status": "running", "config": 3, "environment": {"model": {}}}
PARTIAL = "from algos import Algorithm\nclass Mine(Algorithm):\n    def credit(self, rollouts): ...\n"
PROBLEM = {"question": "1+1=", "answer": "#### 2"}


@pytest.fixture
def data(tmp_path: Path, taught: Path) -> dict[str, str]:
    """Files and folders that are wrong, each in its own way, and some that are right."""
    folder = tmp_path / "data"
    folder.mkdir()

    def write(name: str, text: str | bytes) -> str:
        path = folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    def model(name: str, *without: str) -> str:
        shutil.copytree(taught, folder / name)
        for pattern in without:
            for path in (folder / name).glob(pattern):
                path.unlink()
        return str(folder / name)

    good = json.dumps(PROBLEM) + "\n" + json.dumps({"question": "2+2=", "answer": "#### 4"}) + "\n"
    taken = folder / "taken" / "x"
    taken.mkdir(parents=True)
    (taken / "record.json").write_text("{}")
    for name, text in (("torn", '{"status": '), ("listed", "[]"), ("hollow", json.dumps(HOLLOW))):
        (folder / name / "x").mkdir(parents=True)
        (folder / name / "x" / "record.json").write_text(text)
    return {
        "good": write("good.jsonl", good),
        "test": write("test.jsonl", json.dumps({"question": "3+4=", "answer": "#### 7"}) + "\n"),
        "missing": str(folder / "none.jsonl"),
        "binary": write("binary.jsonl", b"\xff\xfe\x00\x01"),
        "notparquet": write("not.parquet", "{}"),
        "suffix": write("data.xml", "question,answer\n"),
        "badrow": write("badrow.jsonl", good + "{'question': 3}\n"),
        "bare": write("bare.jsonl", '{"question": "2+3?", "answer": "5"}\n{"question": "2+4?", "answer": "6"}\n'),
        "notobject": write("list.jsonl", good + "[1, 2]\n"),
        "nocolumn": write("nocolumn.jsonl", '{"question": "1+1=", "solution": "2"}\n'),
        "empty": write("empty.jsonl", ""),
        "nogold": write("nogold.jsonl", '{"question": "1+1=", "answer": "it is hard to say"}\n'),
        "long": write("long.jsonl", json.dumps({"question": "1+" * 80 + "1=", "answer": "#### 81"}) + "\n"),
        "toml": write("broken.toml", "prompts = \n"),
        "unknown_toml": write("unknown.toml", "[algo]\nkl_cofe = 0.1\n"),
        "noclass": write("noclass.py", "x = 1\n"),
        "partial": write("partial.py", PARTIAL),
        "model_toml": write("model.toml", "model = 3\n"),
        "models_toml": write("models.toml", 'model = ["nano"]\n'),
        "algo_toml": write("algo.toml", "algo = 3\n"),
        "broken": write("broken.py", "def f(:\n"),
        "raises": write("raises.py", "raise RuntimeError('out of\\ncheese')\n"),
        "reward": write("reward.py", "def good(problem, completion, verdict):\n    return 1.0\nbad = 3\n"),
        "noweights": model("noweights", "*.safetensors"),
        "notokenizer": model("notokenizer", "tokenizer*"),
        "noconfig": model("noconfig", "config.json"),
        "damaged": model("damaged", "config.json"),
        "folder": str(folder),
        "taken": str(folder / "taken"),
        "torn": str(folder / "torn"),
        "listed": str(folder / "listed"),
        "hollow": str(folder / "hollow"),
    }


QA = ["--task", "qa"]
BAD: dict[str, tuple[list[str], list[str]]] = {
    # what is wrong -> (words, what the line must say); {name} is an entry of `data`
    "unknown algorithm": (["--algo", "groo"], ["algo", "groo", "grpo"]),
    "algorithm file missing": (["--algo", "{folder}/none.py"], ["algo", "none.py"]),
    "algorithm file without one": (["--algo", "{noclass}"], ["algo", "noclass.py", "exactly one"]),
    "algorithm file without a method": (["--algo", "{partial}"], ["algo", "partial.py", "Mine", "loss"]),
    "algorithm file with an error": (["--algo", "{broken}"], ["algo", "broken.py", "SyntaxError"]),
    "algorithm file that raises": (["--algo", "{raises}"], ["algo", "raises.py", "out of cheese"]),
    "unknown task": (["--task", "algebra"], ["task", "algebra", "arithmetic", "gsm8k"]),
    "unknown field": (["--set", "grup_size=4"], ["grup_size", "group_size", "prompts"]),
    "unknown field of the algorithm": (["--set", "algo.kl_cofe=1"], ["algo.kl_cofe", "algo.kl_coef"]),
    "a field's former name": (["--set", "algo.center=none"], ["algo.center is now algo.baseline"]),
    "unknown field of the task": (["--set", "task.sise=1"], ["task.sise", "task.test_size"]),
    "unknown field in a file": (["--config", "{unknown_toml}"], ["algo.kl_cofe", "algo.kl_coef"]),
    "a setting without a value": (["--set", "algo.kl_coef"], ["algo.kl_coef", "field=value"]),
    "unknown flag": (["--grup-size", "4"], ["--grup-size"]),
    "unknown unit": (["--budget", "tokens=100"], ["budget", "tokens=100", *UNITS]),
    "budget without a limit": (["--budget", "completions"], ["budget", *UNITS]),
    "budget that is no number": (["--budget", "completions=many"], ["budget", "many", "positive number"]),
    "negative budget": (["--budget", "completions=-5"], ["budget", "-5", "positive number"]),
    "budget of zero": (["--budget", "flops=0"], ["budget", "positive number"]),
    "budget that is never spent": (
        ["--algo", "sft", "--budget", "generated_tokens=99"],
        ["budget", "generated_tokens", "trained_tokens"],
    ),
    "solutions longer than the limit": (["--algo", "sft"], ["arithmetic", "16 written solutions", "max_new_tokens=8"]),
    "no written solutions": (
        ["--algo", "sft", "--train-file", "{bare}", "--test-file", "{test}", *QA],
        ["qa", "no written solutions"],
    ),
    "word for an int": (["--set", "prompts=many"], ["prompts", "many", "int"]),
    "word for an int, as a flag": (["--group-size", "four"], ["group-size", "valid integer"]),
    "word for a float of the algorithm": (["--set", "algo.kl_coef=high"], ["algo.kl_coef", "high", "float"]),
    "word for an int of the task": (["--set", "task.test_size=few"], ["task.test_size", "few", "int"]),
    "no such choice": (
        ["--set", "algo.loss_aggregation=median"],
        ["algo.loss_aggregation", "median", "sequence", "token", "horizon"],
    ),
    "no such decay": (["--set", "decay=cosine"], ["decay", "cosine", "constant", "linear"]),
    "no such dtype": (["--dtype", "int4"], ["dtype", "int4", "float32", "bfloat16"]),
    "no such device": (["--device", "tpu9"], ["device", "tpu9", "cpu", "cuda"]),
    "a group of one": (["--group-size", "1"], ["group_size", "at least 2"]),
    "a group of none": (["--group-size", "0"], ["group_size", "at least 1"]),
    "temperature zero": (["--temperature", "0"], ["temperature", "positive"]),
    "no problem to evaluate": (["--eval-limit", "0"], ["eval_limit", "at least 1"]),
    "fraction beyond the end": (["--set", "eval_fractions=0,2"], ["eval_fractions", "0..1"]),
    "task without problems": (["--set", "task.train_size=0"], ["task.train_size", "at least 1"]),
    "task with less than none": (["--set", "task.train_size=-3"], ["task.train_size", "at least 1"]),
    "task without a test": (["--set", "task.test_size=0"], ["task.test_size", "at least 1"]),
    "no data at all": (QA, ["train", "--train-file"]),
    "data file missing": ([*QA, "--train-file", "{missing}", "--test-file", "{test}"], ["none.jsonl", "no such file"]),
    "test file missing": ([*QA, "--train-file", "{good}", "--test-file", "{missing}"], ["none.jsonl", "no such file"]),
    "data file not text": ([*QA, "--train-file", "{binary}", "--test-file", "{test}"], ["binary.jsonl", "UTF-8"]),
    "not a parquet file": ([*QA, "--train-file", "{notparquet}", "--test-file", "{test}"], ["not.parquet"]),
    "a kind not known": (
        [*QA, "--train-file", "{suffix}", "--test-file", "{test}"],
        ["data.xml", ".jsonl", ".parquet"],
    ),
    "bad row": ([*QA, "--train-file", "{badrow}", "--test-file", "{test}"], ["badrow.jsonl:3", "JSON"]),
    "row that is no object": (
        [*QA, "--train-file", "{notobject}", "--test-file", "{test}"],
        ["list.jsonl:3", "object"],
    ),
    "missing column": (
        [*QA, "--train-file", "{nocolumn}", "--test-file", "{test}"],
        ["nocolumn.jsonl:1", "answer", "question", "solution"],
    ),
    "bad template": (
        [*QA, "--train-file", "{good}", "--test-file", "{test}", "--set", "task.question={question"],
        ["question"],
    ),
    "empty file": ([*QA, "--train-file", "{empty}", "--test-file", "{test}"], ["empty.jsonl", "empty"]),
    "gold that cannot be parsed": (
        [*QA, "--train-file", "{nogold}", "--test-file", "{test}"],
        ["nogold.jsonl", "it is hard to say", "1"],
    ),
    "eval file without a name": ([*QA, "--eval-file", "{good}"], ["--eval-file", "NAME=FILE"]),
    "eval file missing": (
        [*QA, "--train-file", "{good}", "--test-file", "{test}", "--eval-file", "o={missing}"],
        ["none.jsonl", "no such file"],
    ),
    "file for a task that takes none": (["--train-file", "{good}"], ["train_file", "unknown field", "--task qa"]),
    "reward not known": (["--reward", "best"], ["reward", "best", "rule", "FILE.py:function"]),
    "reward file missing": (["--reward", "{folder}/none.py:f"], ["reward", "none.py"]),
    "reward function missing": (["--reward", "{reward}:other"], ["reward", "reward.py", "other"]),
    "reward that is no function": (["--reward", "{reward}:bad"], ["reward", "reward.py", "bad"]),
    "reward file with an error": (["--reward", "{broken}:f"], ["reward", "broken.py", "SyntaxError"]),
    "reward term not known": (
        ["--set", "reward_weights.style=1"],
        ["reward_weights.style", "unknown term", "accuracy, calls, end, f1, format, language, length, steps, support"],
    ),
    "reward term that the task has not": (
        [*QA, "--train-file", "{good}", "--test-file", "{test}", "--set", "reward_weights.steps=1"],
        [
            "reward_weights.steps",
            "'qa'",
            "checks no steps",
            "accuracy, calls, end, f1, format, language, length, support",
        ],
    ),
    "weight that is infinite": (["--set", "reward_weights.format=inf"], ["reward_weights.format", "finite", "inf"]),
    "coefficient that is infinite": (["--set", "algo.kl_coef=inf"], ["algo.kl_coef", "finite", "inf"]),
    "weight that is no number": (["--set", "reward_weights.format=nan"], ["reward_weights.format", "nan", "float"]),
    "weight without a term": (["--set", "reward_weights=0.2"], ["reward_weights", "0.2", "table"]),
    "more noise than a coin": (["--set", "reward_noise=0.6"], ["reward_noise", "0..0.5", "0.6"]),
    "less noise than none": (["--set", "reward_noise=-0.1"], ["reward_noise", "0..0.5", "-0.1"]),
    "noise on a function": (
        ["--reward", "{reward}:good", "--set", "reward_noise=0.1"],
        ["reward_noise", "reward=rule", "reward.py:good"],
    ),
    "noise on steps": (
        ["--reward", "process-rule", "--set", "reward_noise=0.1"],
        ["reward_noise", "reward=rule", "process-rule"],
    ),
    "chains of no length": (["--set", "task.numbers="], ["task.numbers", "at least 2", "[]"]),
    "chains of one number": (["--set", "task.numbers=1,4"], ["task.numbers", "at least 2", "[1, 4]"]),
    "numbers beyond the tokens": (["--set", "task.most=100"], ["task.least, task.most", "1..99", "1..100"]),
    "numbers the wrong way round": (["--set", "task.least=31"], ["task.least, task.most", "31..30"]),
    "too few problems": (
        ["--set", "task.numbers=2", "--set", "task.most=3"],
        ["task", "16 different problems", "only"],
    ),
    "no problem in a split": (["--set", "task.numbers=2", "--set", "task.most=1"], ["task", "16 different problems"]),
    "chains that leave the numbers": (
        ["--set", "task.numbers=9", "--set", "task.least=50", "--set", "task.most=99"],
        ["task", "chain of 9 numbers in 50..99", "0..99"],
    ),
    "algorithm that is a number": (["--config", "{algo_toml}"], ["algo: ", "a name or a table of fields", "3"]),
    "config missing": (["--config", "{folder}/none.toml"], ["config", "none.toml"]),
    "config a folder": (["--config", "{folder}"], ["config", "data"]),
    "config not TOML": (["--config", "{toml}"], ["config", "broken.toml", "TOML", "line 1"]),
    "limit beyond the context": (["--max-new-tokens", "96"], ["context of 96", "max-new-tokens"]),
    "training prompt too long": (
        [*QA, "--train-file", "{long}", "--test-file", "{test}", "--set", "task.instruction={question}"],
        ["context of 96", "162"],
    ),
    "test prompt too long": (
        [*QA, "--train-file", "{good}", "--test-file", "{long}", "--set", "task.instruction={question}"],
        ["context of 96", "162"],
    ),
    "prompt with its instruction too long": (
        [
            *QA,
            "--train-file",
            "{good}",
            "--test-file",
            "{test}",
            "--set",
            "task.instruction=" + 40 * "ab " + "{question}",
        ],
        ["context of 96"],
    ),
    "model without weights": (["--model", "{noweights}"], ["model", "noweights", "weights", "safetensors"]),
    "model without a tokenizer": (["--model", "{notokenizer}"], ["model", "notokenizer", "tokenizer"]),
    "model without a configuration": (["--model", "{noconfig}"], ["model", "noconfig", "config.json"]),
    "model that is a file": (["--model", "{good}"], ["model", "good.jsonl", "not a folder"]),
    "model that is nowhere": (["--model", "{folder}/nowhere"], ["model", "nowhere", "not a folder"]),
    "model that the hub has not": (["--model", "no-such/model"], ["model", "no-such/model", "nano"]),
    "out is a file": (["--out", "{good}"], ["out", "good.jsonl"]),
    "out lies under a file": (["--out", "{good}/deeper"], ["out", "good.jsonl"]),
    "going on from a record of nothing": (
        ["--out", "{taken}", "--name", "x", "--resume"],
        ["taken/x/record.json", "not the record of a run", "status: missing", "--name"],
    ),
    "going on from a record that was cut off": (
        ["--out", "{torn}", "--name", "x", "--resume"],
        ["torn/x/record.json", "not the record of a run", "line 1"],
    ),
    "going on from a record that is no table": (
        ["--out", "{listed}", "--name", "x", "--resume"],
        ["listed/x/record.json", "must be a table", "[]"],
    ),
    "going on from a record without its configuration": (
        ["--out", "{hollow}", "--name", "x", "--resume"],
        ["hollow/x/record.json", "config: must be a table", "3"],
    ),
    "folder that holds another run": (["--out", "{taken}", "--name", "x"], ["name", "x", "another run", "--name"]),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_plain_line_and_writes_nothing(
    what: str, call: Call, data: dict[str, str], taught: Path, tmp_path: Path
) -> None:
    words, fragments = BAD[what]
    given = [re.sub(r"\{(\w+)\}", lambda m: data.get(m[1], m[0]), word) for word in words]
    others = ["--model", str(taught)] if "--model" not in given else []
    others += [] if "--out" in given else ["--out", str(tmp_path / "out")]
    others += [] if "qa" in given else sized()
    before = files_of(tmp_path)
    code, said, error = call("run", *others, *given)
    line = one_line(error)
    assert code == 2, line
    assert said == "" and line.startswith("error: ") and len(line) < 1000
    missing = [f for f in fragments if f not in line]
    assert not missing, f"{missing} not in {line!r}"
    assert files_of(tmp_path) == before
    if "taken" in " ".join(words):
        assert (Path(data["taken"]) / "x" / "record.json").read_text() == "{}"


def test_the_hub_is_tried_again_without_a_word() -> None:
    """A line for each attempt to reach it would come before the one that says what is wrong."""
    before = hub_logging.get_verbosity()
    with silenced():
        assert hub_logging.get_verbosity() == hub_logging.ERROR
    assert hub_logging.get_verbosity() == before


def test_a_damaged_model_is_named(call: Call, data: dict[str, str], tmp_path: Path) -> None:
    (Path(data["damaged"]) / "config.json").write_text("{ not json")
    code, _, error = call("run", "--model", data["damaged"], "--out", str(tmp_path / "out"), *sized())
    assert code == 2 and "damaged" in one_line(error)


def test_weights_that_are_none(call: Call, taught: Path, tmp_path: Path) -> None:
    shutil.copytree(taught, tmp_path / "bad")
    (tmp_path / "bad" / "model.safetensors").write_bytes(b"nothing of the kind")
    code, _, error = call("run", "--model", str(tmp_path / "bad"), "--out", str(tmp_path / "out"), *sized())
    assert code == 2 and str(tmp_path / "bad") in one_line(error) and not (tmp_path / "out").exists()


@pytest.mark.slow  # lm-eval indexes its stock tasks: ten seconds
def test_an_unknown_stock_task_is_bad_input(call: Call, taught: Path, tmp_path: Path) -> None:
    words = sized("run", "--model", str(taught), "--out", str(tmp_path / "out"), "--eval-tasks", "no_such_task")
    code, _, error = call(*words)
    assert code == 2 and "no_such_task" in one_line(error) and not (tmp_path / "out").exists()


BAD_ELSEWHERE = {
    "eval: no checkpoint": (["eval", "{folder}/nowhere"], ["model", "nowhere"]),
    "eval: no weights": (["eval", "{noweights}"], ["noweights", "weights"]),
    "eval: unknown scorer": (["eval", "{model}", "--scorer", "theirs"], ["scorer", "theirs", "ours", "hf"]),
    "eval: unknown task": (["eval", "{model}", "--task", "algebra"], ["algebra", "arithmetic"]),
    "eval: no path": (["eval"], ["checkpoint"]),
    "pretrain: unknown model": (["pretrain", "giga"], ["giga", "nano"]),
    "pretrain: a folder in use": (["pretrain", "nano", "--out", "{folder}"], ["data", "not empty"]),
    "pretrain: no solutions": (
        ["pretrain", "--task", "arithmetic", "--out", "{folder}/n"],
        ["arithmetic", "solutions"],
    ),
    "pretrain: data missing": (
        ["pretrain", "--task", "gsm8k", "--train-file", "{missing}", "--out", "{folder}/n"],
        ["none.jsonl"],
    ),
    "pretrain: nothing": (["pretrain"], ["pretrain", "nano", "--task"]),
    "pretrain: a model and a task": (["pretrain", "nano", "--task", "gsm8k"], ["nano", "--task"]),
    "run: a model that is a number": (["run", "--config", "{model_toml}", "--dry-run"], ["model: ", "hub id", "3"]),
    "plan: a model that is a number": (["plan", "--config", "{model_toml}"], ["model: ", "hub id", "3"]),
    "plan: models": (["plan", "--config", "{models_toml}"], ["model: ", "hub id", "['nano']"]),
    "plan: an algorithm without a method": (["plan", "--algo", "{partial}"], ["algo", "partial.py", "Mine", "loss"]),
    "compare: a model that is a number": (
        ["compare", "--algos", "grpo,ppo", "--config", "{model_toml}", "--out", "{folder}/n", "--dry-run"],
        ["model: ", "hub id", "3"],
    ),
    "compare: an algorithm that is a number": (
        ["compare", "--algos", "grpo,ppo", "--config", "{algo_toml}", "--out", "{folder}/n", "--dry-run"],
        ["algo: ", "a name or a table of fields", "3"],
    ),
    "compare: no evaluation at the end": (
        ["compare", "--algos", "grpo,ppo", "--set", "eval_fractions=0,0.5", "--out", "{folder}/n", "--dry-run"],
        ["eval_fractions", "must name 1", "0, 0.5"],
    ),
    "calibrate: fewer trials than none": (
        ["calibrate", "{folder}/n", "--trials", "-1"],
        ["--trials", "at least 1", "-1"],
    ),
    "calibrate: no trial": (["calibrate", "{folder}/n", "--trials", "0"], ["--trials", "at least 1"]),
    "plan: a budget that is never spent": (
        ["plan", "--model", "nano", "--algo", "sft", "--budget", "generated_tokens=99"],
        ["budget", "generated_tokens"],
    ),
    "compare: a budget that one arm never spends": (
        ["compare", "--algos", "grpo,sft", "--budget", "generated_tokens=99", "--out", "{folder}/n", "--dry-run"],
        ["sft", "budget", "generated_tokens"],
    ),
    "list: unknown": (["list", "speed"], ["speed", "algos", "tasks"]),
    "no such command": (["train"], ["train"]),
    "no such flag": (["--fast"], ["--fast"]),
}


@pytest.mark.parametrize("what", BAD_ELSEWHERE)
def test_bad_input_of_the_other_commands(
    what: str, call: Call, data: dict[str, str], taught: Path, tmp_path: Path
) -> None:
    words, fragments = BAD_ELSEWHERE[what]
    given = [word.format(**data, model=taught) for word in words]
    before = files_of(tmp_path)
    code, _, error = call(*given)
    line = one_line(error)
    assert code == 2 and all(f in line for f in fragments), line
    assert files_of(tmp_path) == before


# ---------------------------------------------------------------- runs


def test_the_run_of_the_issue(call: Call, taught: Path, tmp_path: Path) -> None:
    words = [
        "run",
        "--algo",
        "grpo",
        "--group-size",
        "16",
        "--budget",
        "completions=2048",
        "--seed",
        "1",
        "--name",
        "x",
    ]
    given = sized(*words, "--out", str(tmp_path), "--model", str(taught), "--eval-limit", "2", "--set", "prompts=32")
    code, said, error = call(*given)
    assert (code, error) == (0, "")
    record = json.loads((tmp_path / "x" / "record.json").read_text())
    assert record["status"] == "finished" and record["seed"] == 1 and record["algo"] == "grpo"
    assert 2032 <= record["spend"]["completions"] <= 2048
    assert record["config"]["group_size"] == 16
    assert "arithmetic" in said and "Traceback" not in said


def test_a_run_in_a_process_of_its_own(taught: Path, tmp_path: Path) -> None:
    """The installed command: plain lines when nobody watches, exit 0; then the same name again, exit 2."""
    command = [str(Path(sys.executable).parent / "harness"), *sized("run", "--model", str(taught), "--name", "x")]
    command += ["--budget", "completions=32", "--eval-limit", "2", "--set", "eval_fractions=1"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    record = (tmp_path / "results" / "x" / "record.json").read_text()
    assert json.loads(record)["status"] == "finished"
    assert "\x1b" not in done.stdout, "escape sequences, though nobody watches"
    files = files_of(tmp_path)
    again = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert again.returncode == 2 and "another run" in one_line(again.stderr) and again.stdout == ""
    assert files_of(tmp_path) == files and (tmp_path / "results" / "x" / "record.json").read_text() == record


def test_without_a_name_runs_are_numbered(call: Call, taught: Path, tmp_path: Path) -> None:
    given = sized("run", "--model", str(taught), "--out", str(tmp_path), "--budget", "prompts=4", "--seed", "7")
    given += ["--eval-limit", "1", "--set", "eval_fractions=1", "--quiet"]
    for _ in range(2):
        assert call(*given) == (0, "", "")
    assert {p.name for p in tmp_path.iterdir()} == {"grpo-arithmetic-s7", "grpo-arithmetic-s7-2"}


def test_a_dry_run_says_the_configuration_and_writes_nothing(call: Call, taught: Path, tmp_path: Path) -> None:
    words = ("run", "--model", str(taught), "--out", str(tmp_path / "out"), "--show-config", "--seed", "3")
    before = files_of(tmp_path)
    code, said, error = call(*sized(*words, "--set", "algo.kl_coef=0.5"))
    config = json.loads(said)
    assert (code, error) == (0, "") and files_of(tmp_path) == before
    assert (config["seed"], config["algo"]["kl_coef"], config["group_size"]) == (3, 0.5, 4)
    assert config["algo"]["loss_aggregation"] == "sequence", "a default of the algorithm is not shown"


def test_a_dry_run_finds_what_is_wrong(call: Call, taught: Path, tmp_path: Path) -> None:
    code, said, error = call(*sized("run", "--model", str(taught), "--dry-run", "--max-new-tokens", "96"))
    assert code == 2 and said == "" and "context" in one_line(error)


def test_bad_golds_are_counted_and_named(call: Call, data: dict[str, str], taught: Path, tmp_path: Path) -> None:
    """Some rows of a file are of no use: the run goes on with the others, and says so."""
    file = tmp_path / "some.jsonl"
    rows = [{"question": f"{n}+{n}=", "answer": f"#### {2 * n}"} for n in range(8)]
    rows[2]["answer"] = "nobody knows this one"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["run", *QA, "--model", str(taught), "--out", str(tmp_path), "--name", "x", "--train-file", str(file)]
    words += ["--test-file", data["test"], "--set", "task.instruction={question}", "--set", "task.selection_percent=0"]
    code, said, _ = call(*words, "--budget", "prompts=4", "--set", "eval_fractions=1")
    assert code == 0
    flat = " ".join(said.split())
    assert "some.jsonl" in flat and "nobody knows this one" in flat and re.search(r"\b1\b[^.]*row", flat), said


# ---------------------------------------------------------------- runs that do not end well


def breaking(monkeypatch: pytest.MonkeyPatch, error: BaseException, after: int = 2) -> None:
    """Training raises in the round after so many."""
    explore = Trainer.collect_rollouts

    def explode(self: Trainer, *args: Any) -> Any:
        if self.rounds == after:
            raise error
        return explore(self, *args)

    monkeypatch.setattr(Trainer, "collect_rollouts", explode)


def words_of(taught: Path, tmp_path: Path) -> list[str]:
    words = ("run", "--model", str(taught), "--out", str(tmp_path), "--name", "x", "--eval-limit", "2")
    return sized(*words, "--budget", "completions=160")


def test_an_interrupt(call: Call, taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    breaking(monkeypatch, KeyboardInterrupt())
    code, _, error = call(*words_of(taught, tmp_path))
    record = json.loads((tmp_path / "x" / "record.json").read_text())
    assert code == 130 and "interrupted" in one_line(error)
    assert record["status"] == "interrupted" and record["reason"]
    assert record["spend"]["completions"] == 32 and {row["fraction"] for row in record["evals"]} == {0.0}
    lines = (tmp_path / "x" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["round"] for line in lines] == [1, 2]
    assert not (tmp_path / "x" / "checkpoints" / "final").exists()


@pytest.mark.parametrize("error", [RuntimeError("out of\ncheese"), ValueError("no cheese"), MemoryError("cheese")])
def test_an_error_in_training(
    call: Call, taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    breaking(monkeypatch, error)
    code, _, said = call(*words_of(taught, tmp_path))
    record = json.loads((tmp_path / "x" / "record.json").read_text())
    line = one_line(said)
    assert code == 1 and "failed" in line and "cheese" in line and type(error).__name__ in line
    assert record["status"] == "failed" and "cheese" in record["reason"] and type(error).__name__ in record["reason"]
    assert record["spend"]["completions"] == 32
    assert "explode" in (tmp_path / "x" / "traceback.txt").read_text()


@pytest.mark.parametrize("body", ["return float('nan')", "return float('inf')", "return 1 / 0", "return 'good'"])
def test_a_reward_that_breaks_fails_the_run(call: Call, taught: Path, tmp_path: Path, body: str) -> None:
    """No such number may reach a weight unnoticed."""
    file = tmp_path / "bad.py"
    file.write_text(f"def bad(problem, completion, verdict):\n    {body}\n")
    code, _, said = call(*words_of(taught, tmp_path), "--reward", f"{file}:bad", "--set", "eval_fractions=1")
    record = json.loads((tmp_path / "x" / "record.json").read_text())
    assert code == 1 and "failed" in one_line(said) and record["status"] == "failed"


def test_an_error_in_an_evaluation(call: Call, taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import harness.training.evaluation

    def fail(*_: Any) -> Any:
        raise OSError("the disk is full")

    monkeypatch.setattr(harness.training.evaluation.Evaluator, "scores", fail)
    code, _, said = call(*words_of(taught, tmp_path))
    record = json.loads((tmp_path / "x" / "record.json").read_text())
    assert code == 1 and "disk is full" in one_line(said) and record["status"] == "failed"


# ---------------------------------------------------------------- the eval command


def test_eval_scores_a_checkpoint_both_ways(call: Call, taught: Path) -> None:
    tables = {}
    for scorer in ("ours", "hf"):
        code, said, error = call(*sized("eval", str(taught), "--scorer", scorer, "--eval-limit", "8", "--json"))
        assert (code, error) == (0, "")
        rows = [r for r in json.loads(said)["rows"] if r["metric"] == "exact_match" and r["task"] != "arithmetic_t1"]
        tables[scorer] = {(r["task"], r["filter"]): r["value"] for r in rows}
    assert tables["ours"] == tables["hf"] and len(tables["hf"]) == 10
    assert any(0 < value < 1 for value in tables["ours"].values())
    names = {s.name for s in tasks.load("arithmetic")().eval_sets(1)}
    assert {name for name, _ in tables["ours"]} == names - {"arithmetic_t1"}
    close(len(names), 6)


@pytest.mark.parametrize("scorer", ["ours", "hf"])
def test_eval_samples_each_problem_where_it_is_asked_to(call: Call, taught: Path, scorer: str) -> None:
    """`--set eval_samples=4` was once taken and not followed."""
    asked = ("--scorer", scorer, "--eval-limit", "8", "--set", "eval_samples=4", "--set", "eval_split=selection")
    code, said, error = call(*sized("eval", str(taught), "--json", *asked))
    assert (code, error) == (0, "")
    rows = {(r["task"], r["filter"], r["metric"]): r for r in json.loads(said)["rows"]}
    assert {task for task, *_ in rows} == {"arithmetic_selection", "arithmetic_selection_x4"}
    name = "arithmetic_selection_x4"
    share, once = rows[name, "strict", "exact_match"], rows[name, "strict", "pass@1"]
    assert [once[k] for k in ("value", "low", "high")] == [share[k] for k in ("value", "low", "high")]
    assert (once["n"], share["n"]) == (8, 32) and (name, "strict", "maj@2") in rows
    assert rows[name, "strict", "pass@2"]["value"] >= share["value"]


@pytest.mark.parametrize("scorer", ["ours", "hf"])
def test_eval_averages_over_samples_where_it_is_asked_to(call: Call, taught: Path, scorer: str) -> None:
    asked = ("--scorer", scorer, "--eval-limit", "4", "--eval-samples", "arithmetic_worded=3", "--json")
    code, said, error = call(*sized("eval", str(taught), *asked))
    assert (code, error) == (0, "")
    rows = {(r["task"], r["filter"], r["metric"]): r for r in json.loads(said)["rows"]}
    once = rows["arithmetic_worded_avg3", "strict", "exact_match"]
    mean = rows["arithmetic_worded_avg3", "strict", "avg@3"]
    assert (once["n"], mean["n"]) == (12, 4) and once["value"] == mean["value"] and once["stderr"] == mean["stderr"]


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (["--eval-samples", "arithmetic"], ["--eval-samples: ", "NAME=K"]),
        (["--eval-samples", "arithmetic=x"], ["--eval-samples: ", "NAME=K"]),
        (["--eval-samples", "arithmetic=1"], ["eval_repeats.arithmetic: ", "at least 2"]),
        (["--eval-samples", "algebra=4"], ["eval_repeats.algebra: ", "valid: arithmetic, arithmetic_t1"]),
    ],
)
def test_samples_of_no_set_are_named(call: Call, taught: Path, words: list[str], fragments: list[str]) -> None:
    code, _, error = call(*sized("eval", str(taught), *words))
    assert code == 2 and [f for f in fragments if f not in error] == []


def test_the_interval_of_a_rate() -> None:
    once: dict[str, Any] = {"value": 0.5, "n": 8, "stderr": 0.1}
    low, high = bounds(once, repeated=True)
    close(low, 0.5 - 0.1959964)
    close(high, 0.5 + 0.1959964)
    assert bounds({**once, "stderr": 0.3}, repeated=True) == (0.0, 1.0)
    assert bounds(once, repeated=False) == wilson(4, 8)
    assert all(map(math.isnan, bounds({**once, "stderr": None}, repeated=True)))
