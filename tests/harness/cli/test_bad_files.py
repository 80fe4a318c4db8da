"""Files and folders from anywhere that are not what they should be: one plain line, exit code 2, nothing written."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness.cli.test_main import Call, call, one_line, sized  # noqa: F401
from tests.harness.record_factory import a_record, write
from tests.harness.tiny_models import files_of

DEEP = '{"a":' * 100_000
DEEP_TOML = "x = " + "[" * 100_000 + "\n"
RUN = ["run", "--model", "{model}", "--out", "{here}/out"]
QA = ["--task", "qa", "--test-file", "{here}/good.jsonl"]
Make = Callable[[Path], object]


def pipe(name: str) -> Make:
    return lambda here: os.mkfifo(here / name)


def folder(name: str) -> Make:
    return lambda here: (here / name).mkdir(parents=True)


def text(name: str, words: str) -> Make:
    def make(here: Path) -> None:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(words)

    return make


def model(name: str, **fields: Any) -> Make:
    """The model's folder with other fields in one of its JSON files."""

    def make(here: Path) -> None:
        file = here / "model" / name
        table = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps({**table, **fields}))

    return make


def more_tokens(here: Path) -> None:
    """Words that were added to a tokenizer, and not to its model."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(here / "model")
    tokenizer.add_tokens([f"<new{i}>" for i in range(50)])
    tokenizer.save_pretrained(here / "model")


def template(source: str) -> Make:
    return text("model/chat_template.jinja", source)


FILES: dict[str, tuple[Make, list[str], list[str]]] = {
    # what is wrong -> (how it is made, words, what the line must say)
    "config that is a pipe": (pipe("x.toml"), [*RUN, "--config", "{here}/x.toml"], ["x.toml", "pipe"]),
    "config that is a folder": (folder("x.toml"), [*RUN, "--config", "{here}/x.toml"], ["x.toml", "directory"]),
    "config nested too deeply": (text("x.toml", DEEP_TOML), [*RUN, "--config", "{here}/x.toml"], ["x.toml", "deep"]),
    "study that is a pipe": (pipe("x.toml"), ["ablate", "{here}/x.toml"], ["x.toml", "pipe"]),
    "study nested too deeply": (text("x.toml", DEEP_TOML), ["ablate", "{here}/x.toml"], ["x.toml", "deep"]),
    "profile that is a pipe": (pipe("x.toml"), ["plan", "--profile", "{here}/x.toml"], ["x.toml", "pipe"]),
    "data that is a pipe": (pipe("x.jsonl"), [*RUN, *QA, "--train-file", "{here}/x.jsonl"], ["x.jsonl"]),
    "data that is an empty folder": (folder("x.jsonl"), [*RUN, *QA, "--train-file", "{here}/x.jsonl"], ["x.jsonl"]),
    "data nested too deeply": (text("x.jsonl", DEEP), [*RUN, *QA, "--train-file", "{here}/x.jsonl"], ["x.jsonl:1"]),
    "reward that is a folder": (folder("x.py"), [*RUN, "--reward", "{here}/x.py:f"], ["reward", "x.py"]),
    "reward that is a pipe": (pipe("x.py"), [*RUN, "--reward", "{here}/x.py:f"], ["reward", "x.py"]),
    "algorithm that is a pipe": (pipe("x.py"), [*RUN, "--algo", "{here}/x.py"], ["algo", "x.py"]),
    "model's defaults that are a pipe": (
        lambda here: ((here / "model/model_defaults.toml").unlink(), pipe("model/model_defaults.toml")(here)),
        RUN,
        ["model_defaults.toml", "pipe"],
    ),
    "model's defaults that are a folder": (
        lambda here: ((here / "model/model_defaults.toml").unlink(), folder("model/model_defaults.toml")(here)),
        RUN,
        ["model_defaults.toml", "directory"],
    ),
    "model's defaults that are a reward": (
        text("model/model_defaults.toml", 'reward = "model/evil.py:f"\n'),
        RUN,
        ["model_defaults.toml", "may not set reward", "lr"],
    ),
    "model nested too deeply": (text("model/config.json", DEEP), RUN, ["model", "cannot load"]),
    "planned model nested too deeply": (
        text("model/config.json", DEEP),
        ["plan", "--model", "{here}/model"],
        ["config.json", "not a config.json"],
    ),
    "model with code": (
        model("config.json", model_type="evil", auto_map={"AutoConfig": "evil.C"}),
        RUN,
        ["model", "code of its own", "never run"],
    ),
    "tokenizer with more ids than rows": (more_tokens, RUN, ["tokenizer", "<new49>", "rows"]),
    "chat template that raises": (
        template("{{ raise_exception('no\nuser turns') }}"),
        RUN,
        ["model", "chat template", "no user turns"],
    ),
    "chat template that is none": (template("{% if %}"), RUN, ["model", "chat template"]),
    "chat template that divides by zero": (template("{{ 1 / 0 }}"), RUN, ["chat template", "ZeroDivisionError"]),
    "chat template that asks for more": (template("{{ messages[3].content }}"), RUN, ["chat template"]),
    "name above OUT": (folder("x"), [*RUN, "--name", "../x"], ["name", "'../x'", "under OUT"]),
    "name too long": (folder("x"), [*RUN, "--name", "n" * 256], ["name", "255 bytes"]),
    "out too long": (folder("x"), ["run", "--model", "{model}", "--out", "{here}/" + "n" * 256], ["too long"]),
    "model too long": (folder("x"), ["run", "--model", "n" * 300], ["too long"]),
    "study too long": (folder("x"), ["ablate", "n" * 300 + ".toml"], ["too long"]),
    "data too long": (folder("x"), [*RUN, *QA, "--train-file", "n" * 300 + ".jsonl"], ["too long"]),
    "eval set too long": (
        folder("x"),
        [*RUN, *QA, "--train-file", "{here}/good.jsonl", "--eval-file", "n" * 201 + "={here}/good.jsonl"],
        ["eval file", "longer than 200 bytes"],
    ),
    "resumed record that is a pipe": (
        lambda here: (folder("out/x")(here), pipe("out/x/record.json")(here)),
        [*RUN, "--name", "x", "--resume"],
        ["out/x/record.json", "not a file"],
    ),
    "resumed record nested too deeply": (
        text("out/x/record.json", DEEP),
        [*RUN, "--name", "x", "--resume"],
        ["out/x/record.json", "deep"],
    ),
    "resumed run with a link": (
        lambda here: (folder("out/x")(here), (here / "out/x/metrics.jsonl").symlink_to("/etc/passwd")),
        [*RUN, "--name", "x", "--resume"],
        ["out/x/metrics.jsonl", "is a link to /etc/passwd"],
    ),
    "report with a link": (
        lambda here: (
            write(here / "run", a_record("a", 0, [0.3, 0.5, 0.9])),
            (here / "run/report.md").symlink_to("/etc/passwd"),
        ),
        ["report", "{here}/run"],
        ["run/report.md", "is a link to /etc/passwd"],
    ),
    "document that is a pipe": (
        lambda here: (write(here / "run", a_record("a", 0, [0.3, 0.5, 0.9])), pipe("x.md")(here)),
        ["report", "{here}/run", "--into", "{here}/x.md"],
        ["--into", "x.md"],
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_a_bad_file_is_one_plain_line_and_writes_nothing(case: str, call: Call, taught: Path, tmp_path: Path) -> None:  # noqa: F811
    make, words, fragments = FILES[case]
    shutil.copytree(taught, tmp_path / "model")
    rows = [{"question": f"{i}+{i}=", "answer": f"#### {2 * i}"} for i in range(1, 4)]
    (tmp_path / "good.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    make(tmp_path)
    given = [word.replace("{here}", str(tmp_path)).replace("{model}", str(tmp_path / "model")) for word in words]
    given += sized() if words[0] == "run" and "qa" not in words else []
    before = files_of(tmp_path)
    code, said, error = call(*given)
    line = one_line(error)
    assert code == 2 and said == "", line
    assert not [f for f in fragments if f not in line], line
    assert files_of(tmp_path) == before
