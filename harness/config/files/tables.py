"""Tables of fields from a file: TOML, or YAML by its name's end (.yaml, .yml)."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

ENDS = (".toml", ".yaml", ".yml")


def load_table(path: Path) -> dict[str, Any]:
    """Raises ValueError naming the file where it is missing, or not what its name says.

    A pipe on the disk may have nobody who writes to it, and would be waited for; one of the shell's, `<(...)`, is read.
    """
    if path.is_fifo() and not path.is_relative_to("/dev"):
        raise ValueError(f"config: cannot read {path}: it is a pipe, not a file")
    try:
        text = path.read_text()
        return _yaml(text) if path.suffix.lower() in (".yaml", ".yml") else tomllib.loads(text)
    except RecursionError:
        raise ValueError(f"config: {path} is nested too deeply") from None
    except OSError as error:
        raise ValueError(f"config: cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"config: {path} is not valid YAML: {' '.join(str(error).split())}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        hint = "; YAML goes by the name's end: FILE.yaml" if _looks_like_yaml(path) else ""
        raise ValueError(f"config: {path} is not valid TOML: {error}{hint}") from error


def _looks_like_yaml(path: Path) -> bool:
    try:
        return any(re.match(r"\s*[\w.]+:(\s|$)", line) for line in path.read_text().splitlines())
    except (OSError, UnicodeDecodeError):
        return False


class _Loader(yaml.SafeLoader):
    """YAML as its users mean it, which is that of version 1.2: 1e-5 is a number, `no` and `on` are words, and so is a
    date.  A name that stands twice in one table is an error: the first would be lost."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # none of 1.1's

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        for i, name in enumerate(names):
            if name in names[:i]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"'{name}' stands twice", node.value[i][0].start_mark
                )
            if not isinstance(name, str):
                raise yaml.constructor.ConstructorError(None, None, f"the name {name!r} is no text", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value.replace("_", "")))  # 010 is ten
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false)$", re.I), list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(null|~|)$", re.I), ["n", "N", "~", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9][0-9_]*$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.inf$|^\.nan$", re.I),
    list("-+.0123456789"),
)


def _yaml(text: str) -> dict[str, Any]:
    table = yaml.load(text, _Loader)  # noqa: S506 - a subclass of SafeLoader
    if not isinstance(table, dict | None):
        raise yaml.YAMLError("it is not a table of fields (field: value)")
    return table or {}
