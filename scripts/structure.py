"""The structure of the code in numbers: files per folder, and levels, arrows and cycles of the package graph.

    python scripts/structure.py              algos, evals and harness, from the repository's root
    python scripts/structure.py PACKAGE ...  other packages, importable from the current folder

A package is a folder directly below a root (`harness.cli`), together with all that is in it; modules directly in the
root count as a package named after the root.  An arrow is drawn where any module of one package imports any module of
another, imports inside functions included.  The level of a package is the length of the longest import chain that
starts there, within its own root.

Exit code 1 where a folder has more than MAX_FILES files, where packages or modules import each other in a cycle, or
where a root has more than MAX_LEVELS levels.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import grimp

ROOTS = ["algos", "evals", "harness"]
MAX_FILES, MAX_LEVELS = 12, 8

Graph = dict[str, set[str]]  # importer -> imported


def files_per_folder(root: str) -> dict[str, int]:
    """Python files of each folder that has any, `__init__.py` left out."""
    folders = sorted({path.parent for path in Path(root).rglob("*.py")})
    counts = {str(folder): sum(path.name != "__init__.py" for path in folder.glob("*.py")) for folder in folders}
    return {folder: count for folder, count in counts.items() if count}


def module_graph(roots: Iterable[str]) -> Graph:
    """Imports between the modules of the roots."""
    graph = grimp.build_graph(*roots, cache_dir=None)
    return {module: set(graph.find_modules_directly_imported_by(module)) for module in sorted(graph.modules)}


def package_graph(modules: Graph) -> Graph:
    """The same between packages; a root without modules of its own is left out."""
    folders = {module.rpartition(".")[0] for module in modules}
    arrows: Graph = {}
    for importer, imported in modules.items():
        package = package_of(importer, folders)
        arrows.setdefault(package, set()).update(package_of(module, folders) for module in imported)
    used = set().union(*arrows.values())
    return {package: imported - {package} for package, imported in arrows.items() if imported or package in used}


def package_of(module: str, folders: set[str]) -> str:
    """`harness.cli.plan` is in `harness.cli`; `algos.grpo` in `algos`.  `folders`: all modules that have children."""
    parts = module.split(".")
    child = ".".join(parts[:2])
    return child if len(parts) > 2 or child in folders else parts[0]


def cycles(graph: Graph) -> list[list[str]]:
    """Groups of nodes that reach each other, each in alphabetical order."""
    reached = {node: reachable(graph, node) for node in graph}
    groups = {
        frozenset(other for other in reached[node] if node in reached[other]) for node in graph if node in reached[node]
    }
    return sorted(sorted(group) for group in groups)


def reachable(graph: Graph, start: str) -> set[str]:
    """The nodes at the end of a chain of one arrow or more."""
    nodes: set[str] = set()
    pending = list(graph[start])
    while pending:
        node = pending.pop()
        if node not in nodes:
            nodes.add(node)
            pending += graph[node]
    return nodes


def levels(graph: Graph) -> dict[str, int]:
    """Of each node: 1 where it imports none.  Nodes of one cycle are of one level."""
    group_of = {node: frozenset(group) for group in cycles(graph) for node in group}
    level: dict[str, int] = {}

    def level_of(node: str) -> int:
        if node not in level:
            group = group_of.get(node, frozenset([node]))
            below = {imported for member in group for imported in graph[member]} - group
            level.update(dict.fromkeys(group, 1 + max(map(level_of, below), default=0)))
        return level[node]

    for node in graph:
        level_of(node)
    return level


def within(graph: Graph, root: str) -> Graph:
    """The part of the graph that is in one root."""
    inside = {node for node in graph if node.split(".")[0] == root}
    return {node: graph[node] & inside for node in inside}


def describe_levels(level: Mapping[str, int]) -> list[str]:
    """The packages of each level, the highest level first."""
    numbers = sorted(set(level.values()), reverse=True)
    return [f"  {number}  {' '.join(sorted(n for n in level if level[n] == number))}" for number in numbers]


def report(roots: list[str]) -> tuple[list[str], list[str]]:
    """The lines to print, and what exceeds its limit."""
    lines, faults = [f"files per folder (at most {MAX_FILES})"], []
    for root in roots:
        for folder, count in files_per_folder(root).items():
            lines.append(f"  {count:2}  {folder}")
            if count > MAX_FILES:
                faults.append(f"{folder} has {count} files")
    modules = module_graph(roots)
    packages = package_graph(modules)
    for root in roots:
        level = levels(within(packages, root))
        height = max(level.values())
        lines += ["", f"{root}: {height} level{'s' * (height > 1)} (at most {MAX_LEVELS})", *describe_levels(level)]
        if height > MAX_LEVELS:
            faults.append(f"{root} has {height} levels")
    lines += ["", f"arrows between packages: {sum(map(len, packages.values()))}"]
    for kind, graph in (("packages", packages), ("modules", modules)):
        groups = cycles(graph)
        lines.append(f"cycles between {kind}: {len(groups)}")
        faults += [f"{kind} in a cycle: {', '.join(group)}" for group in groups]
    return lines, faults


def main() -> int:
    parser = argparse.ArgumentParser(description="Files per folder; levels, arrows and cycles of the package graph.")
    parser.add_argument("packages", nargs="*", default=ROOTS, help="root packages (default: %(default)s)")
    sys.path.insert(0, os.getcwd())
    lines, faults = report(parser.parse_args().packages)
    print("\n".join(lines))
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
