"""What tasks read of a completion: no special tokens, except the tags of its reasoning."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AddedToken, PreTrainedTokenizerFast

from evals.verification.verifier import Verdict, verify
from harness.rollout.sampler import Completions, Sampler
from tests.harness.tiny_models import build

OPENS = "{% for m in messages %}{{ m['content'] }}{% endfor %}<think>\\n"
CLOSED = "{% for m in messages %}{{ m['content'] }}{% endfor %}<think>\\n\\n</think>"


def bytes_tokenizer(special: tuple[str, ...], template: str) -> PreTrainedTokenizerFast:
    """A token for each byte, and the special ones."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bare = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare, clean_up_tokenization_spaces=False)
    tokenizer.add_special_tokens({"additional_special_tokens": [AddedToken(s, special=True) for s in special]})
    tokenizer.chat_template = template or None
    return tokenizer


def judged(text: str, ended: bool, special: tuple[str, ...] = (), template: str = "") -> tuple[str, Verdict]:
    """What `texts` gives for a completion that was written as `text`, and the verdict on it, where 14 is right."""
    tokenizer = bytes_tokenizer(special, template)
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    none = torch.zeros(1, len(tokens))
    done = Completions(torch.tensor([tokens]), none, none, torch.tensor([len(tokens)]), torch.tensor([ended]))
    read = Sampler(build("llama"), tokenizer).texts(done)[0]
    return read, verify(read, "14", "hash", ended)


TAGS = ("<think>", "</think>", "<|im_end|>")
HARMONY = ("<|channel|>", "<|message|>", "<|end|>", "<|start|>")


@pytest.mark.parametrize("special", [(), TAGS], ids=["plain", "special"])
@pytest.mark.parametrize(
    ("text", "ended", "strict"),
    [
        ("<think>#### 14</think>#### 15", True, "wrong"),
        ("<think>#### 15</think>#### 14", True, "correct"),
        ("<think>#### 14", True, "unparseable"),
        ("<think>#### 14", False, "truncated"),
        ("<think>12+2</think>", True, "unparseable"),
    ],
)
def test_reasoning_is_not_read(text: str, ended: bool, strict: str, special: tuple[str, ...]) -> None:
    read, verdict = judged(text, ended, special)
    assert read == text and verdict.strict == strict


def test_other_special_tokens_are_dropped_as_before() -> None:
    assert judged("<think>12</think>#### 14<|im_end|>", True, TAGS)[0] == "<think>12</think>#### 14"
    assert judged("#### 14<|im_end|>", True, ("<|im_end|>",))[0] == "#### 14"


def test_channels_are_reasoning_and_answer() -> None:
    analysis, answer = "<|channel|>analysis<|message|>#### 14<|end|>", "<|channel|>final<|message|>#### 15"
    assert judged(analysis, False, HARMONY)[1].strict == "truncated"
    assert judged(analysis + "<|start|>" + answer, True, HARMONY)[1].strict == "wrong"


@pytest.mark.parametrize(
    ("template", "text", "ended", "strict"),
    [
        (OPENS, "is it #### 14", False, "truncated"),
        (OPENS, "is it #### 14", True, "unparseable"),
        (OPENS, "15?</think>#### 14", True, "correct"),
        (CLOSED, "#### 14", True, "correct"),
    ],
)
def test_a_template_that_opens_the_reasoning(template: str, text: str, ended: bool, strict: str) -> None:
    assert judged(text, ended, (), template)[1].strict == strict
