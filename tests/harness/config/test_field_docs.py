"""The comments behind fields, and where users read them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

import algos
from evals import tasks
from harness.cli import options, reference
from harness.cli.lists.catalog import listing
from harness.config.field_docs import comments_in, fields_of
from harness.config.rewards import RewardModelFields
from harness.config.run_config import RunConfig
from harness.studies.schema import Hypothesis, Report, ScaleProfile, Tune
from harness.studies.study import Study
from tests.helpers import ROOT

CLASSES: dict[str, Any] = {
    **{name: algos.load(name) for name in algos.names()},
    **{name: tasks.load(name) for name in tasks.names()},
    **{cls.__name__: cls for cls in (RunConfig, RewardModelFields, Study, Tune, Report, Hypothesis, ScaleProfile)},
}

SOURCES = {  # source of a class A -> its comments
    "behind a field": ("    x: int = 0  # how many\n", {"x": "how many"}),
    "none": ("    x: int = 0\n", {}),
    "on a line of its own": ("    # numbers\n    x: int = 0\n", {}),
    "within brackets": ("    x: int | None = (\n        None  # how many\n    )\n", {"x": "how many"}),
    "behind the bracket": ("    x: list = f(\n        int\n    )  # which\n", {"x": "which"}),
    "over two lines": ("    x: int = (  # how\n        0  # many\n    )\n", {"x": "how many"}),
    "a hash in a string": ('    x: str = "#a"  # of what\n    y: str = "# b"\n', {"x": "of what"}),
    "a hash in a comment": ("    x: int = 0  # 0 < #correct\n", {"x": "0 < #correct"}),
    "of what is no field": ("    x = 0  # a constant\n    def f(self): ...  # a method\n", {}),
    "of a method's variable": ("    def f(self):\n        x: int = 0  # inside\n", {}),
}


@pytest.mark.parametrize("what", SOURCES)
def test_the_comment_of_a_field(what: str) -> None:
    text, comments = SOURCES[what]
    source = f"class B:\n    x: int = 1  # another's\n\n\nclass A:\n    z: int  # last\n{text}\n"
    assert comments_in(source, "A") == {"z": "last", **comments}


@pytest.mark.parametrize("name", CLASSES)
def test_every_field_says_what_it_is(name: str) -> None:
    assert [f.name for f in fields_of(CLASSES[name]) if not f.doc] == []
    assert [f.name for f in fields_of(CLASSES[name])] == [f.name for f in dataclasses.fields(CLASSES[name]) if f.init]


def test_a_variants_comment_goes_before_its_bases() -> None:
    docs = {f.name: f for f in fields_of(algos.load("dapo"))}
    assert docs["clip_high"].doc == "clip-higher: room for unlikely tokens" and docs["clip_high"].default == "0.28"
    assert docs["clip_low"].doc.startswith("epsilon below 1")


def test_a_users_file_has_comments_too(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        "from dataclasses import dataclass\nfrom algos.grpo import GRPO\n\n\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Own(GRPO):\n    x: int = 3  # mine\n"
    )
    fields = {f.name: f.doc for f in fields_of(algos.load(str(file)))}
    assert fields["x"] == "mine" and fields["kl_coef"] == "beta, §4.2"


def test_the_list_shows_them() -> None:
    said = listing("all")
    for text in (
        "    kl_coef = 0.04  (float)  # beta, §4.2",
        "    clip_low = 0.0003  (float)  # as the ratio's: a geometric mean is close to 1",
        "    temperature = 1.0  (float)  # sampling temperature in training",
        "    replay = 0.1  (float)  # share of a refresh that is history (§4.1.4)",
    ):
        assert text in said.splitlines()
    assert said.index("  sft  ") < said.index("  cispo  "), "variants come after the algorithms"
    gspo = said.partition("  gspo  ")[2].partition("\n  lite_ppo")[0]
    assert "ratio = 'sequence'" in gspo and "epochs" not in gspo and "algos/grpo.py" in gspo


def test_options_say_what_the_fields_do() -> None:
    assert options.about("temperature", "1") == "sampling temperature in training. [1]"
    with pytest.raises(KeyError):
        options.about("temprature")


def test_the_page_of_the_configuration_is_up_to_date() -> None:
    """Where this fails: harness list --markdown > docs/configuration.md"""
    assert (ROOT / "docs/configuration.md").read_text() == reference.page() + "\n"


def test_the_page_has_every_field_once_per_class() -> None:
    rows = [line for line in reference.page().splitlines() if line.startswith("| `")]
    assert all(line.replace("\\|", "").count("|") == 5 for line in rows)
    names = [line.split("`")[1] for line in rows]
    assert names.count("log_reference_kl") == 1
    for field, bases in (("std_ddof", 1), ("clip_high", 2), ("clip_dual", 2)):  # of GRPO, and of PPO
        defaults = {name: vars(algos.load(name)()).get(field) for name in ("grpo", *algos.variant_names())}
        changed = sum(value != defaults["grpo"] for value in defaults.values())
        assert names.count(field) == bases + changed, field
