"""`--dry-run` is ten lines and writes nothing; the fields are printed on request; `list` shows an algorithm's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from algos import load, names
from harness.config.field_docs import fields_of
from tests.harness.cli.test_main import Call, call, sized  # noqa: F401 - a fixture


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize("algo", ["grpo", "rft", "sft"])
def test_ten_lines_say_what_the_run_would_be(call: Call, here: Path, taught: Path, algo: str) -> None:  # noqa: F811
    words = sized("run", "--algo", algo, "--model", str(taught), "--max-new-tokens", "40")
    code, said, error = call(*words, "--dry-run")
    lines = said.splitlines()
    assert (code, error) == (0, "") and len(lines) <= 10
    for word in ("rounds  ", "time    ", "memory  ", "trains  ", "scores  ", "writes   results"):
        assert sum(line.startswith(word) for line in lines) == 1, said
    assert algo == "sft" or "16 problems of arithmetic" in said  # it takes those alone whose solution is short enough
    assert "arithmetic 16, arithmetic_t1 16" in said
    assert "time     about" in said and "measured here" in said
    assert not (here / "results").exists()


def test_the_fields_are_printed_on_request(call: Call, here: Path, taught: Path) -> None:  # noqa: F811
    code, said, _ = call(*sized("run", "--model", str(taught), "--group-size", "4"), "--show-config")
    config = json.loads(said)
    assert code == 0 and config["group_size"] == 4 and config["schedule"]["group_size"] == 4
    assert not any(here.iterdir())


@pytest.mark.parametrize("name", names())
def test_an_algorithm_is_listed_with_its_fields_and_the_models_scale(
    call: Call,  # noqa: F811
    name: str,
    taught: Path,
) -> None:
    code, said, _ = call("list", name, "--model", str(taught))
    assert code == 0
    for field in fields_of(load(name)):
        (line,) = [line for line in said.splitlines() if line.strip().startswith(f"algo.{field.name} ")]
        assert f"= {field.default}" in line and line.endswith(field.doc)
    assert f"scale, with {taught}" in said and "a round is" in said
    (scale,) = [line.split() for line in said.splitlines() if line.strip().startswith("max_new_tokens ")]
    assert scale[2] == "8" and scale[3] == "of"
    assert next(line for line in said.splitlines() if " temperature " in line).split()[3:5] == ["general", "default"]
