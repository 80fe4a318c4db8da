"""A configuration as TOML and as YAML is the same configuration."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from harness.config.files.tables import load_table
from harness.config.run_config import resolve
from harness.studies import study

TOML = """lr = 1e-5
budget = "completions=64"
chat_date = "2024-07-26"
eval_fractions = [0, 1]
[algo]
name = "ppo"
clip_dual = 3
whiten = false
"""
YAML = """lr: 1e-5
budget: completions=64
chat_date: 2024-07-26  # a date elsewhere
eval_fractions: [0, 1]
algo: {name: ppo, clip_dual: 3, whiten: false}
"""


def write(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize("end", ["yaml", "yml"])
def test_yaml_is_toml_in_other_words(tmp_path: Path, end: str) -> None:
    one, two = write(tmp_path, "a.toml", TOML), write(tmp_path, f"a.{end}", YAML)
    assert load_table(one) == load_table(two)
    assert resolve({}, [], str(one)) == resolve({}, [], str(two))


def test_words_are_what_they_look_like(tmp_path: Path) -> None:
    """Of YAML 1.1, which makes `no` false, 1e-5 a word, 1:30 ninety and a date a date, none."""
    text = "a: no\nb: 1e-5\nc: 1:30\nd: 2024-01-02\ne: 010\nf: null\ng: true\nh: .5\ni: -3\nj: .inf\nk: on\nl: 'x'\n"
    assert load_table(write(tmp_path, "a.yaml", text)) == {
        "a": "no", "b": 1e-5, "c": "1:30", "d": "2024-01-02", "e": 10, "f": None, "g": True, "h": 0.5, "i": -3,
        "j": math.inf, "k": "on", "l": "x",
    }  # fmt: skip
    assert load_table(write(tmp_path, "b.yaml", "# nothing\n")) == {}


def test_a_study_and_a_profile_may_be_yaml(tmp_path: Path) -> None:
    text = "arms: {a: {algo: grpo}, b: {algo: {name: grpo, kl_coef: 0}}}\nseeds: 2\nbase: {budget: completions=64}\n"
    found = study.load(str(write(tmp_path, "mine.yaml", text)))
    assert found.name == "mine" and [run.path for run in found.runs()][:2] == ["mine/a/seed0", "mine/b/seed0"]


WRONG = {
    "not YAML": ("a.yaml", "a: [1\n", "is not valid YAML"),
    "a list": ("a.yaml", "- 1\n", "not a table of fields"),
    "a name twice": ("a.yaml", "lr: 1\nlr: 2\n", "'lr' stands twice"),
    "a name that is a number": ("a.yaml", "1: 2\n", "is no text"),
    "an object": ("a.yaml", "a: !!python/object/apply:os.getcwd []\n", "is not valid YAML"),
    "YAML in a .toml": ("a.toml", "lr: 1e-5\n", "YAML goes by the name's end: FILE.yaml"),
    "a field": ("a.yaml", "learning_rate: 1e-5\n", "learning_rate: unknown field (did you mean lr?)"),
    "no file": ("", "", "cannot read"),
}


@pytest.mark.parametrize(("name", "text", "expected"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, text: str, expected: str) -> None:
    file = write(tmp_path, name, text) if name else tmp_path / "none.yaml"
    with pytest.raises(ValueError) as refused:
        resolve({}, [], str(file))
    assert expected in str(refused.value) and "\n" not in str(refused.value)
