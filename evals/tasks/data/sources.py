"""Where data is from: a file, a folder, or a data set of the hub.

    train.csv   ./folder   openai/gsm8k   openai/gsm8k:main   openai/gsm8k:main@COMMIT   HuggingFaceH4/MATH-500#test

What exists on the disk is meant; else OWNER/NAME, with `:CONFIGURATION`, `@REVISION`, `#SPLIT` where they are needed.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from evals.tasks.data.files import KINDS, DataError, NoSplit, Row, first_line, read_rows

HUB_ID = re.compile(
    r"(?P<name>\w[\w.-]*/\w[\w.-]*)(:(?P<config>[\w.-]+))?(@(?P<revision>[\w./-]+))?(#(?P<split>\w[\w.-]*))?"
)


@dataclass(frozen=True)
class Read:
    """What was read: Read("openai/gsm8k, main, test", rows, "e53f048856ff...")."""

    source: str
    rows: list[Row]
    commit: str = ""  # of the hub's repository


def read_source(text: str, split: str, config: str = "") -> Read:
    """The rows of one split.  Raises NoSplit where there are others only, DataError where nothing can be read."""
    if Path(text).expanduser().exists() or not (hub := hub_id(text)):
        return Read(text, read_rows(text, split, config))
    return read_hub(hub["name"], hub["config"] or config, hub["split"] or split, hub["revision"] or "")


def hub_id(text: str) -> re.Match[str] | None:
    """The parts of a hub id; None for what is the name of a file.

    >>> hub_id("openai/gsm8k:main@v1").groupdict(), hub_id("data/train.csv")
    ({'name': 'openai/gsm8k', 'config': 'main', 'revision': 'v1', 'split': None}, None)
    """
    return None if text.lower().endswith(KINDS) else HUB_ID.fullmatch(text)


def read_hub(name: str, config: str, split: str, revision: str = "") -> Read:
    """One split of a hub dataset, or of the copy in the local cache where the hub cannot be reached."""
    import datasets  # type: ignore[import-untyped]

    offline = datasets.config.HF_HUB_OFFLINE
    place = f"{name}, {config or 'default'}, {split}"
    try:
        datasets.config.HF_HUB_OFFLINE = offline or not _resolves(datasets.config.HF_ENDPOINT)
        rows = datasets.load_dataset(name, config or None, split=split, revision=revision or None)
    except (datasets.exceptions.DatasetNotFoundError, ValueError) as error:
        if re.match(r"(Unknown|Bad) split", str(error)):
            raise NoSplit(f"{place}: {' '.join(str(error).split())}") from None
        raise DataError(f"{place}: {first_line(error)}") from None
    except Exception as error:  # what a failed connection raises depends on the http library underneath
        why = f"the hub could not be reached for {name} ({first_line(error)})"
        raise DataError(f"{why}; --train-file/--test-file take local files or folders") from None
    finally:
        datasets.config.HF_HUB_OFFLINE = offline
    source = ", ".join(part for part in (name, config, split) if part)
    return Read(source, [(number, dict(row)) for number, row in enumerate(rows, 1)], commit_of(rows))


def commit_of(rows: object) -> str:
    """The commit that a data set was read from, as the addresses of its files say; "" where they do not."""
    files = getattr(getattr(rows, "info", None), "download_checksums", None) or {}
    commits = {found[1] for address in files if (found := re.search(r"@([0-9a-f]{40})/", str(address)))}
    return commits.pop() if len(commits) == 1 else ""


def _resolves(endpoint: str) -> bool:
    """False where the hub's name has no address and there is no proxy to ask: spares half a minute of retries."""
    try:
        return bool(getproxies() or socket.getaddrinfo(urlsplit(endpoint).hostname, 443))
    except OSError:
        return False
