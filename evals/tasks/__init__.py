"""Tasks: problems, evaluation sets, and the verifier that training reward and evaluation share.

base            `Task`, `Problem`, `EvalSet`, `Step`: the interface
registry        `names`, `load`: tasks by name, FILE.py or FILE.yaml; what a user's task gives is checked
user_file       importing a user's FILE.py, and errors that name it
arithmetic      chains of + and -, generated
word_problems   stories of several steps, generated
cold_start      the same with their solutions, of a split that RL never sees, and GSM8K's training set
qa              questions with a final answer, from files or the hub
harness_gsm8k   GSM8K, a case of `qa`
lookup          questions about invented facts, with a search tool; generated
facts           the facts of `lookup`, and questions about them
open_qa         questions with short answers in words, with a search tool: HotpotQA, NQ, any file
countdown       reach a number from others: an expression is the answer
benchmarks      MATH-500, AIME and others by name, cases of `qa`: a TOML each
traces          files of prompts and completions, to be fine-tuned on
lm_eval_yaml    the task of an lm-eval YAML, a case of `qa` too
data            generating, reading and checking problems

Other packages import the names below; no module outside `evals.tasks` needs a task's own module.
"""

from evals.tasks.base import Domain, EvalSet, Problem, Step, Task
from evals.tasks.registry import ALIASES, benchmark_names, evaluation_sets, load, names, train_problems
from evals.tasks.user_file import named_errors

__all__ = [
    "ALIASES",
    "benchmark_names",
    "Domain",
    "EvalSet",
    "Problem",
    "Step",
    "Task",
    "evaluation_sets",
    "load",
    "named_errors",
    "names",
    "train_problems",
]
