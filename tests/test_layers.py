"""The rooms and the direction of their arrows, kept by reading the source: imports, names, sizes, documents."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers import ROOT, close

ROOMS = ("algos", "evals", "harness")
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
NAMES = sorted({p.stem for p in (ROOT / "algos").glob("*.py")} - {"__init__"})
VARIANTS = sorted({p.stem for p in (ROOT / "algos/variants").glob("*.py")} - {"__init__"})
INTERFACE = {"__init__", "base", "registry", "user_file", "lm_eval_yaml"}
TASKS = sorted({p.stem for p in (ROOT / "evals/tasks").glob("*.py")} - INTERFACE)
MAX_FILE, MAX_FUNCTION, MAX_FOLDER = 300, 60, 12


# --- reading source ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Import:
    module: str  # `from a import b` counts as a and as a.b
    line: int
    at_import: bool  # runs when the module is imported: not in a function, not for the type checker only


def imports(source: str, package: str = "") -> list[Import]:
    """Every import in the source, those inside functions and `import_module("...")` included."""
    return [
        Import(name, line, at) for node, at in _walk(ast.parse(source), True) for name, line in _names(node, package)
    ]


def _walk(node: ast.AST, at_import: bool) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        inner = at_import and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            inner = False
        yield child, inner
        yield from _walk(child, inner)


def _names(node: ast.AST, package: str) -> Iterator[tuple[str, int]]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.name, node.lineno
    elif isinstance(node, ast.ImportFrom):
        parts = package.split(".")
        above = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
        base = ".".join(filter(None, [above, node.module or ""]))
        yield base, node.lineno
        for alias in node.names:
            yield f"{base}.{alias.name}", node.lineno
    elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        called = ast.unparse(node.func).split(".")[-1]
        if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
            yield node.args[0].value, node.lineno


def within(module: str, room: str) -> bool:
    return module == room or module.startswith(room + ".")


def place(path: Path, line: int = 0) -> str:
    return f"{path.relative_to(ROOT)}{f':{line}' if line else ''}"


def of(path: Path) -> list[Import]:
    return imports(path.read_text(), ".".join(path.relative_to(ROOT).parent.parts))


def matching(*patterns: str) -> list[Path]:
    return sorted({path for pattern in patterns for path in ROOT.glob(pattern)})


def offenders(files: list[Path], *forbidden: str, at_import_only: bool = False) -> list[str]:
    return [
        f"{place(path, i.line)} imports {i.module}"
        for path in files
        for i in of(path)
        if any(within(i.module, package) for package in forbidden) and (i.at_import or not at_import_only)
    ]


# --- who imports whom ----------------------------------------------------------------------------------------

# What import-linter's contracts (pyproject.toml) cannot say.
# files, what they never import, and whether only imports that run on import count
TABLE: dict[str, tuple[list[str], list[str], bool]] = {
    "ops know no container and no algorithm": (
        ["algos/ops/*.py"],
        ["algos.core", "algos.variants", "algos.grouping", *(f"algos.{n}" for n in NAMES)],
        False,
    ),
    "verification and statistics need no model": (
        ["evals/verification/*.py", "evals/statistics/*.py"],
        ["torch", "transformers"],
        False,
    ),
    "the loop is blind to what it trains": (
        ["harness/training/trainer.py"],
        ["algos.variants", *(f"algos.{n}" for n in NAMES), *(f"evals.tasks.{t}" for t in TASKS)],
        False,
    ),
    "reports are made where no model stack is installed": (
        ["harness/reports/**/*.py"],
        ["torch", "transformers"],
        False,
    ),
    "help and planning are instant": (
        ["harness/config/run_config.py", "harness/studies/*.py", "harness/api/*.py", "harness/cli/*.py"],
        ["torch", "transformers", "algos"],
        True,
    ),
}


@pytest.mark.parametrize("rule", TABLE)
def test_arrows(rule: str) -> None:
    patterns, forbidden, at_import_only = TABLE[rule]
    files = matching(*patterns)
    assert files
    assert offenders(files, *forbidden, at_import_only=at_import_only) == []


def test_algos_stand_on_torch_and_the_standard_library() -> None:
    allowed = {"torch", "algos", *sys.stdlib_module_names}
    files = matching("algos/**/*.py")
    assert [
        f"{place(p, i.line)}: {i.module}" for p in files for i in of(p) if i.module.split(".")[0] not in allowed
    ] == []


@pytest.mark.parametrize("name", NAMES)
def test_algorithms_are_peers(name: str) -> None:
    assert offenders([ROOT / f"algos/{name}.py"], *(f"algos.{n}" for n in NAMES if n != name)) == []


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_of_its_own_file_builds_on_one_algorithm(name: str) -> None:
    """And on ops; other variants are none of its business.  What is only other defaults is a row of the table."""
    path = ROOT / f"algos/variants/{name}.py"
    imported = {i.module for i in of(path)} & {f"algos.{n}" for n in NAMES}
    assert len(imported) == 1 and offenders([path], "algos.variants") == []
    assert [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef)], "a row would do"


def test_only_the_bridge_imports_lm_eval() -> None:
    assert offenders([p for p in FILES if p != ROOT / "evals/scoring/lm_eval_bridge.py"], "lm_eval") == []


def test_no_room_imports_tests_or_results() -> None:
    assert offenders(FILES, "tests", "results") == []


MODELS = ["torch", "transformers"]
TRANSITIVELY = {
    "harness": [*MODELS, "pandas", "numpy", "pydantic"],
    "harness.api.runs": [*MODELS, "pandas"],
    "harness.api.studies": [*MODELS, "pandas"],
    "harness.api.frames": [*MODELS, "pandas"],
    "harness.config.run_config": MODELS,
    "harness.studies.study": MODELS,
    "harness.studies.status": MODELS,
    "harness.cli.main": MODELS,
    "harness.reports.report": MODELS,
    "harness.reports.collection_page": MODELS,
    "harness.reports.calibration.calibrate": MODELS,
    "harness.records.recorder": MODELS,
    "evals.verification.verifier": MODELS,
    "evals.statistics.comparison": MODELS,
    "evals.statistics.pass_at_k": MODELS,
    "evals.statistics.simulation": MODELS,
    "evals.statistics.classifier_quality": MODELS,
    "algos": ["transformers", "lm_eval", "accelerate", "datasets", "typer", "evals", "harness"],
}


@pytest.mark.parametrize("module", TRANSITIVELY)
def test_importing_it_leaves_heavy_things_alone(module: str) -> None:
    """Not even by way of others."""
    code = f"import {module}, sys; print(*sorted(set({TRANSITIVELY[module]}) & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == []


def test_reading_imports() -> None:
    source = (
        "import a.b, c\nfrom d import e\nfrom . import f\nfrom ..g import h\n"
        "def late():\n    import i\nif TYPE_CHECKING:\n    import j\nimportlib.import_module('k.l')\n"
        "class M:\n    import n\n"
    )
    found = {i.module: i.at_import for i in imports(source, "room.inner")}
    early = {"a.b", "c", "d", "d.e", "room.inner", "room.inner.f", "room.g", "room.g.h", "k.l", "n"}
    assert found == {**dict.fromkeys(early, True), "i": False, "j": False}
    assert within("torch.nn", "torch")
    assert not within("torchvision", "torch")


# --- nobody branches on an algorithm's name ------------------------------------------------------------------


def branches_on(source: str, names: set[str]) -> list[int]:
    """Lines that compare with one of the names: ==, in (...), match, startswith, or a look-up in a dict of them."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        asked: list[ast.AST] = []
        if isinstance(node, ast.Compare):
            asked = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            asked = [node.value]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in ("startswith", "endswith"):
                asked = [*node.args]
            elif node.func.attr == "get" and isinstance(node.func.value, ast.Dict):
                asked = [k for k in node.func.value.keys if k]
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Dict):
            asked = [k for k in node.value.keys if k]
        constants = [c for a in asked for c in ast.walk(a) if isinstance(c, ast.Constant)]
        lines += [c.lineno for c in constants if isinstance(c.value, str) and c.value.lower() in names]
    return lines


def test_no_code_branches_on_an_algorithms_name() -> None:
    names = {*NAMES, *VARIANTS, "grpo", "ppo", "rft"}
    found = []
    for path in FILES:
        own = {path.stem} if path.parent == ROOT / "algos" else set()
        found += [place(path, line) for line in branches_on(path.read_text(), names - own)]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "if name == 'grpo': pass",
        "x = 'GRPO' != name",
        "x = name in ('ppo', 'other')",
        "match name:\n    case 'grpo' | 'x': pass",
        "x = name.startswith('ppo')",
        "x = {'grpo': 1}[name]",
        "x = {'grpo': 1}.get(name)",
    ],
)
def test_branching_is_seen(source: str) -> None:
    assert branches_on(source, {"grpo", "ppo"})


@pytest.mark.parametrize("source", ["algo: str = 'grpo'", "run('grpo')", "CASES = {'grpo': 1}", "x = name == 'other'"])
def test_naming_is_not_branching(source: str) -> None:
    assert branches_on(source, {"grpo", "ppo"}) == []


# --- sizes and documents -------------------------------------------------------------------------------------


def long_functions(source: str, limit: int) -> list[tuple[str, int]]:
    functions = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    sizes = [(f.name, (f.end_lineno or f.lineno) - f.lineno + 1) for f in functions]
    return [(name, size) for name, size in sizes if size > limit]


def test_files_fit_the_eye() -> None:
    sizes = {place(path): len(path.read_text().splitlines()) for path in FILES}
    assert {name: size for name, size in sizes.items() if size > MAX_FILE} == {}


def test_folders_fit_the_eye() -> None:
    folders = {path.parent for path in FILES}
    sizes = {place(folder): len({*folder.glob("*.py")} - {folder / "__init__.py"}) for folder in folders}
    assert {name: size for name, size in sizes.items() if size > MAX_FOLDER} == {}


def test_every_package_says_what_it_is() -> None:
    """Its door is the docstring of `__init__`: what the package is for, and a line for each of its modules."""
    faults = []
    folders = {path.parent for path in FILES}
    for folder in sorted(folders):
        door = folder / "__init__.py"
        if folder.name == "controls":
            continue
        text = (ast.get_docstring(ast.parse(door.read_text())) if door.exists() else None) or ""
        modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
        modules |= {inner.name for inner in folders if inner.parent == folder}
        faults += [] if text else [place(folder)]
        faults += [f"{place(folder)}: {name}" for name in sorted(modules) if not re.search(rf"\b{name}\b", text)]
    assert faults == []


def test_functions_fit_the_eye() -> None:
    found = {place(path): long_functions(path.read_text(), MAX_FUNCTION) for path in FILES}
    assert {name: functions for name, functions in found.items() if functions} == {}


def test_long_functions_are_seen() -> None:
    source = "def short():\n    pass\nclass C:\n    def long(self):\n" + "        x = 1\n" * 60
    assert long_functions(source, 60) == [("long", 61)]


SOURCE = re.compile(r"\b\d{4}\.\d{5}\b|REINFORCE|Schulman|Sutton")
FORMULA = re.compile(r"[=<>^]|\w/\w|\w_\w")


def public_functions(path: Path) -> list[ast.FunctionDef]:
    body = ast.parse(path.read_text()).body
    return [n for n in body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")]


@pytest.mark.parametrize("path", matching("algos/ops/*.py"), ids=lambda p: p.stem)
def test_every_op_states_its_formula_or_its_source(path: Path) -> None:
    silent = []
    for function in public_functions(path):
        text = ast.get_docstring(function) or ""
        if not (SOURCE.search(text) or FORMULA.search(text)):
            silent.append(f"{place(path, function.lineno)} {function.name}")
    assert silent == []


# --- tests that can fail -------------------------------------------------------------------------------------

LOOSE = {"assert_close", "allclose", "assert_allclose", "approx", "isclose"}


def own_tolerances(source: str) -> list[int]:
    calls = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call)]
    return sorted(n.lineno for n in calls if ast.unparse(n.func).split(".")[-1] in LOOSE)


def test_no_test_brings_its_own_tolerance() -> None:
    """All comparisons of floats go through `helpers.close`, which has a ceiling."""
    files = matching("tests/**/*.py")
    assert [place(path, line) for path in files for line in own_tolerances(path.read_text())] == []


def test_own_tolerances_are_seen() -> None:
    source = "assert x == pytest.approx(1)\ntorch.testing.assert_close(a, b)\nclose(a, b)\nnp.allclose(a, b)\n"
    assert own_tolerances(source) == [1, 2, 4]


def test_close_is_close() -> None:
    close([1.0, [2.0, float("inf")]], [1.0 + 1e-10, [2.0, float("inf")]])
    close(1.0, 1.00009, rtol=1e-4)
    for actual, expected in [(1.0, 1.0 + 1e-6), ([1.0], [1.0, 1.0]), (1.0, [1.0]), ([1.0], 1.0)]:
        with pytest.raises(AssertionError):
            close(actual, expected)
    for odd in (float("nan"), float("inf")):
        with pytest.raises(AssertionError):
            close(odd, 1.0)
        with pytest.raises(AssertionError):
            close(1.0, odd)
    with pytest.raises(AssertionError):
        close(float("nan"), float("nan"))
    for tolerances in ({"rtol": 1e-3}, {"atol": 1e-3}, {"rtol": 1e6}, {"atol": -1.0}, {"rtol": float("nan")}):
        with pytest.raises(ValueError, match="tolerances"):
            close(1.0, 1.0, **tolerances)
