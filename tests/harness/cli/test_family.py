"""`harness list --family`, `--presets`, their pages, and `--preset`."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

import algos
from harness.cli.lists import family
from harness.cli.main import app
from harness.cli.options import with_preset
from tests.helpers import ROOT


@pytest.mark.parametrize(("page", "made"), [("family", family.family_page), ("dialects", family.dialects_page)])
def test_the_committed_page_is_what_the_code_says(page: str, made: object) -> None:
    assert callable(made)
    assert (ROOT / f"docs/guides/{page}.md").read_text() == made() + "\n"


def test_the_family_prints_every_member_and_every_choice() -> None:
    from algos.grouping import catalog

    said = CliRunner().invoke(app, ["list", "--family"]).output
    for name in (*algos.variant_names(), *catalog.BASELINES, *catalog.KEYS):
        assert f"| {name} " in said, name
    for axis in (
        "`normalize`",
        "`ratio`",
        "`clip`",
        "`kl_placement`",
        "`loss_aggregation`",
        "`filter_groups`",
        "source",
    ):
        assert axis in said


def test_the_presets_print_every_dialect() -> None:
    said = CliRunner().invoke(app, ["list", "--presets"]).output
    assert [name for name in algos.dialect_names() if f"| {name.partition('_')[2]} " not in said] == []


def test_a_preset_is_an_algorithms_name() -> None:
    assert (with_preset(None, "trl"), with_preset("grpo", "verl"), with_preset("ppo", None)) == (
        "grpo_trl",
        "grpo_verl",
        "ppo",
    )
    with pytest.raises(ValueError, match="preset: no dialect 'x' of algo 'grpo'; valid: deepseekmath, trl"):
        with_preset(None, "x")
