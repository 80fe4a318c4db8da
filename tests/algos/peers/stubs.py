"""Importing one function of a framework without the framework's dependencies.

    python -m venv peers && peers/bin/pip install --no-deps verl==0.9.1 openrlhf==0.11.2 areal==1.0.4 \\
        tinker-cookbook==0.6.1 trl==1.16.0 colorlog

A wheel's module imports servers, tokenisers and compilers that its arithmetic does not use.  While `absent` holds, what
cannot be found is a mock; what is installed is itself.  Repositories that have no wheel are read from a checkout under
PEER_SOURCES (`NAME/`), and one function of a file is compiled alone.
"""

from __future__ import annotations

import ast
import importlib
import importlib.machinery
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pytest

MOCKED = {
    "aiofiles", "aiohttp", "blobfile", "chz", "codetiming", "deepspeed", "einops", "fastapi", "flash_attn", "flask",
    "httpx", "hydra",
    "lark", "megatron", "numba", "omegaconf", "orjson", "peft", "pybase64", "pylatexenc", "ray", "ring_flash_attn",
    "sglang", "tenacity", "tensordict", "termcolor", "tinker", "torchdata", "uvicorn", "uvloop", "vllm", "wandb", "zmq",
}  # fmt: skip


class Absent:
    """Finds those of MOCKED that are not installed."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name.split(".")[0] not in MOCKED:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> Any:
        module = MagicMock(name=spec.name)
        module.__path__, module.__spec__, module.__name__ = [], spec, spec.name
        return module

    def exec_module(self, module: Any) -> None:
        pass


@contextmanager
def absent() -> Iterator[None]:
    finder, before = Absent(), set(sys.modules)
    sys.meta_path.append(finder)  # type: ignore[arg-type]
    try:
        yield
    finally:
        sys.meta_path.remove(finder)  # type: ignore[arg-type]
        for name in set(sys.modules) - before:
            if isinstance(sys.modules[name], MagicMock):
                del sys.modules[name]


def module_of(name: str) -> ModuleType:
    """A framework's module, or the test is skipped."""
    if importlib.util.find_spec(name.split(".")[0]) is None:
        pytest.skip(f"{name.split('.')[0]} is not installed")
    if name.startswith("trl."):
        return importlib.import_module(name)
    with absent():
        return importlib.import_module(name)


def function_of(repository: str, file: str, names: Sequence[str], scope: dict[str, Any]) -> list[Any]:
    """Functions of a checkout's file, compiled alone, with what they name in `scope`; or the test is skipped."""
    root = os.environ.get("PEER_SOURCES")
    path = Path(root or "", repository, file)
    if not root or not path.is_file():
        pytest.skip(f"no {repository}/{file} under PEER_SOURCES")
    return _compiled(path, names, scope)


def function_of_wheel(package: str, file: str, names: Sequence[str], scope: dict[str, Any]) -> list[Any]:
    """The same of an installed package whose import asks for more than can be mocked."""
    spec = importlib.util.find_spec(package)  # finds a folder, and runs nothing
    if spec is None or spec.origin is None:
        pytest.skip(f"{package} is not installed")
    return _compiled(Path(spec.origin).parent / file, names, scope)


def _compiled(path: Path, names: Sequence[str], scope: dict[str, Any]) -> list[Any]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    chosen = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name in names]
    for node in chosen:
        for function in (n for n in ast.walk(node) if isinstance(n, ast.FunctionDef)):
            function.decorator_list, function.returns = [], None
            for argument in [*function.args.args, *function.args.kwonlyargs]:
                argument.annotation = None
            static = function.args.args[:1] and function.args.args[0].arg != "self" and isinstance(node, ast.ClassDef)
            function.decorator_list = [ast.Name("staticmethod", ast.Load())] if static else []
    for node in chosen:
        ast.fix_missing_locations(node)
    exec(compile(ast.Module(chosen, []), str(path), "exec"), scope)
    return [scope[name] for name in names]
