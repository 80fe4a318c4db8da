"""What the model is asked: instruction, conversation and solved examples, as text and as turns.

A problem has both.  A model without a chat template reads the text (`Problem.prompt`); one with a chat template reads
the turns (`Problem.turns`), in which the question stands bare and the answer's format in a system turn before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from evals.tasks.base import Problem, Turn
from evals.verification.extraction import marked
from evals.verification.verifier import Format

HOW: dict[Format, str] = {
    "hash": "Reason step by step, then end with '#### <number>'.",
    "boxed": "Reason step by step, then end with the final answer in \\boxed{}.",
    "answer_is": "Reason step by step, then end with 'The answer is <answer>.'",
}
INSTRUCTIONS: dict[Format, str] = {name: f"Question: {{question}}\n{how}\nAnswer:" for name, how in HOW.items()}
MARKS: dict[Format, str] = {"hash": "#### {}", "boxed": "\\boxed{{{}}}", "answer_is": "The answer is {}."}
ROLES = ("system", "user", "assistant", "developer", "tool")


def is_conversation(value: Any) -> bool:
    """Is it a list of {"role": ..., "content": text}, as TRL and chat APIs have it?

    >>> is_conversation([{"role": "user", "content": "1+1?"}]), is_conversation(["1+1?"])
    (True, False)
    """
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(t, dict) and t.get("role") in ROLES and isinstance(t.get("content"), str) for t in value)
    )


def asked(conversation: Sequence[dict[str, Any]]) -> tuple[Turn, ...]:
    """The turns up to the last one of the user.  ValueError where there is none."""
    turns = tuple({"role": str(t["role"]), "content": str(t["content"])} for t in conversation)
    while turns and turns[-1]["role"] != "user":
        turns = turns[:-1]
    if not turns:
        raise ValueError("the conversation has no turn of the user")
    return turns


def answered(conversation: Sequence[dict[str, Any]]) -> str:
    """The assistant's last words.  ValueError where it says nothing."""
    said = [str(t["content"]) for t in conversation if t["role"] == "assistant"]
    if not said:
        raise ValueError("the conversation has no turn of the assistant")
    return said[-1]


def identity_text(turns: Sequence[Turn]) -> str:
    """What of a conversation makes it the same problem: all that was said, without the system's turn."""
    return "\n".join(t["content"] for t in turns if t["role"] != "system")


def present(question: str, turns: tuple[Turn, ...], instruction: str, format: Format) -> tuple[str, tuple[Turn, ...]]:
    """(text, turns) of a question, or of the conversation that it ends.

    `instruction` is the user's own template, "" the default: then the text gets that of the format, and the turns the
    bare question after a system turn; a conversation is what its row says.
    """
    template = instruction or ("{question}" if turns else INSTRUCTIONS[format])
    text = template.replace("{question}", question)
    if turns:
        before = "".join(f"{t['content']}\n\n" for t in turns[:-1])
        return before + text, (*turns[:-1], {"role": "user", "content": text})
    if instruction:
        return text, ({"role": "user", "content": text},)
    return text, ({"role": "system", "content": HOW[format]}, {"role": "user", "content": question})


def with_examples(problem: Problem, examples: Sequence[tuple[Problem, str]]) -> Problem:
    """The problem after solved ones: (problem, its solution)."""
    if not examples:
        return problem
    text = "".join(f"{p.prompt} {solution}\n\n" for p, solution in examples) + problem.prompt
    shown = [t for p, s in examples for t in (p.turns[-1], {"role": "assistant", "content": s})]
    first = [t for t in problem.turns[:1] if t["role"] == "system"]
    return replace(problem, prompt=text, turns=(*first, *shown, *problem.turns[len(first) :]))


def example_solution(written: str, gold: str, format: Format) -> str:
    """A written solution, with its final answer marked as the task's format has it.

    >>> example_solution("5-3=2", "2", "hash"), example_solution("2", "2", "answer_is")
    ('5-3=2\\n#### 2', 'The answer is 2.')
    """
    text = written.strip()
    if marked(text, format):
        return text
    body = text.split("####")[0].strip()
    return f"{body}\n{MARKS[format].format(gold)}" if body not in ("", gold) else MARKS[format].format(gold)
