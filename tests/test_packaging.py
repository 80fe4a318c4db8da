"""What is given away: the wheel, used from an empty folder, and the small files beside it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.helpers import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
GIVEN = ("algos", "evals", "harness", "docs")  # folders; files of the root are all taken
DATA = {  # files that a user needs and Python would not import; those that no user needs
    "harness/models/embedded/nano/model.safetensors": True,
    "harness/models/embedded/nano/tokenizer.json": True,
    "harness/models/embedded/micro/recipe.toml": True,
    "harness/models/embedded/smollm2-135m/package.toml": True,
    "harness/studies/library/compare_nano.toml": True,
    "harness/studies/library/profiles/paper-1.3b.toml": True,
    "harness/studies/controls/coin.py": True,
    "harness/py.typed": True,
    "algos/py.typed": True,
    "evals/py.typed": True,
    "harness/studies/controls/flipped.py": True,
    "harness/reports/render/html_report/page.css": True,
    "harness/reports/render/html_report/page.js": True,
    "tests/": False,
    "results/": False,
    "scripts/": False,
}


# ---------------------------------------------------------------- the small files


def test_licence_is_one_and_the_same_everywhere() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License\n                           Version 2.0, January 2004" in text and len(text) == 11358
    assert PROJECT["license"] == "Apache-2.0" and PROJECT["license-files"] == ["LICENSE"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["license"] == "Apache-2.0"


def test_citation_is_of_this_project() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "version"} <= set(citation)
    assert citation["title"].startswith(PROJECT["name"])
    assert citation["authors"] == PROJECT["authors"]


def test_version_is_one_and_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest and newest[1] == citation["version"] == PROJECT["version"]


def test_metadata_is_complete() -> None:
    for name in ("description", "readme", "requires-python", "authors", "keywords", "classifiers", "scripts"):
        assert PROJECT[name], name
    oldest = PROJECT["requires-python"].removeprefix(">=")
    versions = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert versions[0] == oldest


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(name: str) -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", (ROOT / name).read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []


# ---------------------------------------------------------------- the wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by way of an sdist, as an index would have it, from a copy of the source."""
    if importlib.util.find_spec("build") is None:
        pytest.skip("needs the package `build`")
    source = tmp_path_factory.mktemp("source")
    for folder in (folder for folder in GIVEN if (ROOT / folder).is_dir()):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (file for file in ROOT.iterdir() if file.is_file() and file.name != ".git"):
        shutil.copy(file, source)
    for folder in ("tests", "results", "scripts"):  # what must stay out is there
        (source / folder).mkdir()
        (source / folder / "test_nothing.py").write_text("")
    words = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(source / "dist"), str(source)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next((source / "dist").glob("*.whl"))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", DATA)
def test_what_the_wheel_holds(wheel: Path, name: str) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert any(n.startswith(name) for n in names) is DATA[name]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_wheel_holds_every_module(wheel: Path) -> None:
    modules = {str(p.relative_to(ROOT)) for room in GIVEN[:3] for p in (ROOT / room).rglob("*.py")}
    assert modules <= set(zipfile.ZipFile(wheel).namelist())


FEW = "--budget completions=64 --set prompts=4 --group-size 4 --set eval_limit=4 --set eval_fractions=1"
FROM_AN_EMPTY_FOLDER = {  # harness WORDS, and a file that is there afterwards
    "run": (f"run --algo grpo {FEW} --name r --quiet", "results/r/record.json"),
    "a variant": (f"run --algo dr_grpo {FEW} --name v --quiet", "results/v/record.json"),
    "compare": (f"compare --algos grpo,rloo --seeds 1 {FEW} --name c --quiet", "results/c/report.html"),
    "list": ("list", None),
    "plan": ("plan --algo ppo --no-measure", None),
    "a shipped study": ("ablate calibration --dry-run", None),
}


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel was installed into."""
    target = tmp_path_factory.mktemp("installed")
    words = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(target)]
    done = subprocess.run([*words, str(wheel)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("what", FROM_AN_EMPTY_FOLDER)
def test_the_wheel_works_from_an_empty_folder(installed: Path, tmp_path: Path, what: str) -> None:
    words, file = FROM_AN_EMPTY_FOLDER[what]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "harness.cli", *words.split()]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout or file
    assert file is None or (tmp_path / file).is_file()
    where = "import harness; print(harness.__file__)"
    used = subprocess.run([sys.executable, "-c", where], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert Path(used.stdout.strip()).is_relative_to(installed), "the wheel's own files were used"
    if file and file.endswith("record.json"):
        assert json.loads((tmp_path / file).read_text())["status"] == "finished"
