"""What a tool is."""

from __future__ import annotations

from typing import Protocol


class Tool(Protocol):
    """A text in, a text out.  The same text should have the same answer: resumed runs, and arms that share their
    random numbers, rely on it.

        class Weather:
            name = "weather"

            def call(self, text):
                return "rain" if text.strip() == "Bergen" else "sun"
    """

    name: str  # of its tag: <weather>Bergen</weather>

    def call(self, text: str) -> str: ...


class ToolError(Exception):
    """Why there is no answer, in words that the policy reads."""
