"""Makes a small starting model: a tokenizer, a Llama, and next-token training on (prompt, completion) documents.

    harness pretrain nano                     rebuilds the embedded model from its recipe
    harness pretrain micro --device cuda      makes a larger one, whose recipe alone ships
    harness pretrain FOLDER --task gsm8k ...  a small model of a task's training solutions

Documents are packed, without padding to speak of, into rows of W tokens; a token attends to its own document
alone, and the loss is the mean over completion tokens.  On CUDA weights are fp32 and products bf16 (autocast).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from harness.models.loading import save_model

Document = tuple[str, str | Sequence[tuple[str, bool]]]  # prompt, completion; or pieces of it: text, is it learned
PAD, EOS = "<pad>", "<eos>"


def text_of(completion: str | Sequence[tuple[str, bool]]) -> str:
    """All of a completion, learned or not.

    >>> text_of([("<search>a</search>", True), ("b", False)])
    '<search>a</search>b'
    """
    return completion if isinstance(completion, str) else "".join(text for text, _ in completion)


def build_tokenizer(texts: Iterator[str], vocabulary: int, words: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE that splits numbers into digits; `words` are tokens of their own.  Any text encodes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\d"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(words),
        special_tokens=[PAD, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(w, normalized=False) for w in words])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=EOS, clean_up_tokenization_spaces=False
    )


def build_model(shape: dict[str, Any], vocabulary: int, pad: int, eos: int, seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary, tie_word_embeddings=True, bos_token_id=None, eos_token_id=eos, pad_token_id=pad, **shape
    )
    return LlamaForCausalLM(config)


@dataclass
class Packer:
    """Rows of `width` tokens filled with whole documents.  A document longer than a row is skipped and counted."""

    documents: Iterator[Document]
    encode: Callable[[str], list[int]]
    eos: int
    rows: int
    width: int
    skipped: int = 0
    _waiting: tuple[list[int], list[int], list[int]] | None = None

    def _next(self) -> tuple[list[int], list[int], list[int]]:
        """Prompt, completion and, of each token of the completion, what is to be learned there (-100: nothing)."""
        while True:
            prompt, completion = next(self.documents)
            pieces = [(completion, True)] if isinstance(completion, str) else completion
            encoded = [(self.encode(text), learned) for text, learned in pieces] + [([self.eos], True)]
            tokens = [token for ids, _ in encoded for token in ids]
            if len(prompt_ids := self.encode(prompt)) + len(tokens) <= self.width:
                return prompt_ids, tokens, [t if learned else -100 for ids, learned in encoded for t in ids]
            self.skipped += 1

    def batch(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """tokens, positions, document (-1 at padding), and target (-100 where nothing is learned): (rows, width)."""
        shape = (self.rows, self.width)
        tokens, places = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
        document, target = torch.full(shape, -1), torch.full(shape, -100)
        for row in range(self.rows):
            at = number = 0
            while True:
                prompt, completion, targets = self._waiting or self._next()
                n = len(prompt) + len(completion)
                if at + n > self.width:
                    self._waiting = (prompt, completion, targets)
                    break
                self._waiting = None
                tokens[row, at : at + n] = torch.tensor(prompt + completion)
                places[row, at : at + n] = torch.arange(n)
                document[row, at : at + n] = number
                target[row, at + len(prompt) - 1 : at + n - 1] = torch.tensor(targets)
                at, number = at + n, number + 1
        return tokens, places, document, target


def document_mask(document: Tensor) -> Tensor:
    """Additive (rows, 1, W, W): a token sees itself and the earlier tokens of its own document."""
    width = document.shape[1]
    same = document[:, :, None] == document[:, None, :]
    seen = same & torch.ones(width, width, device=document.device).tril().bool()
    return torch.zeros(seen.shape, device=document.device).masked_fill_(~seen, torch.finfo(torch.float32).min)[:, None]


def fit(
    model: LlamaForCausalLM,
    packer: Packer,
    updates: int,
    lr: float,
    warmup: int,
    say: Callable[[str], None],
    floor: float = 0.02,
) -> dict[str, float]:
    """AdamW on `updates` batches; the rate rises over `warmup` and falls along a cosine to `floor` x lr."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=0.01)
    model.train()
    start, tokens, smooth = time.perf_counter(), 0, 0.0
    for update in range(updates):
        fall = floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * update / updates))
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, (update + 1) / warmup) * fall
        x, places, document, target = (t.to(model.device) for t in packer.batch())
        learned = target != -100
        with torch.autocast(model.device.type, torch.bfloat16, enabled=model.device.type == "cuda"):
            hidden = model.model(input_ids=x, position_ids=places, attention_mask=document_mask(document))[0]
            loss = torch.nn.functional.cross_entropy(model.lm_head(hidden[learned]), target[learned])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        tokens += int((document >= 0).sum())
        smooth = float(loss.detach()) if update == 0 else 0.98 * smooth + 0.02 * float(loss.detach())
        if (update + 1) % 200 == 0 or update + 1 == updates:
            rate = tokens / (time.perf_counter() - start)
            say(f"update {update + 1}/{updates}  loss {smooth:.4f}  {rate:,.0f} tokens/s")
    model.eval()
    return {"updates": updates, "tokens": tokens, "loss": round(smooth, 4), "seconds": time.perf_counter() - start}


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    assert model.generation_config is not None
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    save_model(model, tokenizer, folder)
