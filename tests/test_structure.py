"""`scripts/structure.py` on this repository, and on a made-up package that has each fault."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.helpers import ROOT

SCRIPT = ROOT / "scripts/structure.py"


def structure() -> Any:
    spec = importlib.util.spec_from_file_location("structure", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(folder: Path, *packages: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(SCRIPT), *packages]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120)


def written(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        (path.parent / "__init__.py").touch()
        (folder / name.split("/")[0] / "__init__.py").touch()


def test_the_repository_is_within_its_limits() -> None:
    result = run(ROOT)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert "cycles between packages: 0" in lines and "cycles between modules: 0" in lines
    assert any(line.startswith("  8  ") and "harness.cli" in line.split() for line in lines)


def test_a_chain_of_packages_is_counted(tmp_path: Path) -> None:
    written(
        tmp_path,
        {
            "made_up/low/a.py": "",
            "made_up/middle/b.py": "def late():\n    from made_up.low import a\n",
            "made_up/high/c.py": "from made_up.middle.b import late\nimport made_up.low.a\n",
        },
    )
    result = run(tmp_path, "made_up")
    assert result.returncode == 0, result.stderr
    assert "made_up: 3 levels (at most 8)\n  3  made_up.high\n  2  made_up.middle\n  1  made_up.low\n" in result.stdout
    assert "arrows between packages: 3\n" in result.stdout


def test_faults_are_named(tmp_path: Path) -> None:
    written(
        tmp_path,
        {
            "made_up/one/a.py": "import made_up.two.b\n",
            "made_up/two/b.py": "def late():\n    import made_up.one.a\n",
            **{f"made_up/three/m{k}.py": "" for k in range(13)},
        },
    )
    result = run(tmp_path, "made_up")
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "error: made_up/three has 13 files",
        "error: packages in a cycle: made_up.one, made_up.two",
        "error: modules in a cycle: made_up.one.a, made_up.two.b",
    ]


def test_a_cycle_is_found_and_has_one_level() -> None:
    module = structure()
    graph = {"top": {"x"}, "x": {"y"}, "y": {"z", "low"}, "z": {"x"}, "low": set()}
    assert module.cycles(graph) == [["x", "y", "z"]]
    assert module.levels(graph) == {"top": 3, "x": 2, "y": 2, "z": 2, "low": 1}


def test_too_many_levels(tmp_path: Path) -> None:
    chain = {f"made_up/p{k}/m.py": f"import made_up.p{k + 1}.m\n" for k in range(8)}
    written(tmp_path, {**chain, "made_up/p8/m.py": ""})
    result = run(tmp_path, "made_up")
    assert result.returncode == 1 and result.stderr == "error: made_up has 9 levels\n"
