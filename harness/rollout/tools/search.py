"""`search`: the best documents of a corpus by BM25 (Robertson et al. 1995), which the library bm25s computes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

TEXTS = ("text", "contents", "content", "passage", "document")  # columns that hold a document
NOTHING = "nothing found"
MISSING = "tools: search needs the library bm25s: pip install 'post-training-harness[tools]'"


class Search:
    """<search>price of belzor</search>  ->  price of belzor: 7"""

    name = "search"
    local = True

    def __init__(self, documents: Sequence[str], top: int) -> None:
        """ValueError where there is no document, or no library."""
        try:
            import bm25s
        except ImportError:
            raise ValueError(MISSING) from None
        if not documents:
            raise ValueError("tool.corpus: it has no documents")
        self.documents, self.top, self.library = list(documents), top, bm25s
        self.index = bm25s.BM25()
        self.index.index(self._words(self.documents), show_progress=False)
        self.call = lru_cache(65_536)(self._call)  # a group asks the same again and again

    def _words(self, texts: list[str]) -> list[list[str]]:
        return self.library.tokenize(texts, stopwords="en", return_ids=False, show_progress=False)  # type: ignore[no-any-return]

    def _call(self, text: str) -> str:
        """The `top` documents with the highest scores above 0, one a line; of equals the first in the corpus."""
        words = [word for word in self._words([text])[0] if word in self.index.vocab_dict]
        if not words:
            return NOTHING
        score = self.index.get_scores(words)
        least = np.partition(score, -min(self.top, len(score)))[-min(self.top, len(score))]
        candidates = np.flatnonzero((score >= least) & (score > 0))
        best = sorted(candidates.tolist(), key=lambda i: (-score[i], i))[: self.top]
        return "\n".join(self.documents[i] for i in best) or NOTHING


def read_corpus(file: str) -> list[str]:
    """A document of each line of a JSONL file: its `text` (or contents, passage, ...) under its `title`, if it has one.

    Raises ValueError naming file and line.
    """
    try:
        lines = Path(file).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"tool.corpus: cannot read {file}: {error}") from None
    documents = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"tool.corpus: {file}:{number}: not JSON: {error}") from None
        documents.append(_document(row, f"{file}:{number}"))
    if not documents:
        raise ValueError(f"tool.corpus: {file} has no documents")
    return documents


def _document(row: Any, place: str) -> str:
    name = next((name for name in TEXTS if isinstance(row, dict) and name in row), None)
    if name is None:
        raise ValueError(f"tool.corpus: {place}: must be an object with a column {', '.join(TEXTS)}, not {row!r:.60}")
    if not isinstance(text := row[name], str) or not text.strip():
        raise ValueError(f"tool.corpus: {place}: {name} must be a text that is not empty, not {text!r:.60}")
    title = row.get("title")
    return f"{title}: {text}" if isinstance(title, str) and title.strip() else text
