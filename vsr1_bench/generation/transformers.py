"""Backend `transformers`: for laptops and CPUs, and the reference for other backends.

Requests are answered in batches. An answer does not depend on the rest of its batch: rows are
padded on the left, everything that the processor returns is passed on, limits are counted per row,
and each row has its own random generator (in fp32; in bf16 the batched arithmetic itself differs).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.utils.logging import disable_progress_bar

from vsr1_bench.errors import GenerationError
from vsr1_bench.generation.adapters import merge
from vsr1_bench.generation.attention import attention_settings, set_attention
from vsr1_bench.generation.base import NO_SCHEMA, ScoringGenerator, failed
from vsr1_bench.generation.chat import ChatRenderer, Prompt, cannot_load
from vsr1_bench.generation.devices import check_devices
from vsr1_bench.generation.images import ImageError
from vsr1_bench.generation.models import ModelInfo
from vsr1_bench.generation.precision import precision_of
from vsr1_bench.generation.transformers_args import TransformersArgs
from vsr1_bench.records import Completion, Request, Sampling, Usage


class TransformersGenerator(ScoringGenerator):
    """A Hugging Face model run by `generate`."""

    banned: tuple[int, ...] = ()
    """Tokens that are never sampled."""

    def __init__(
        self, model: ModelInfo, args: TransformersArgs, *, trust_remote_code: bool = False
    ) -> None:
        """Load the model.

        Raises:
            ModelError: the folder has no model that can be loaded.
        """
        check_devices("transformers", args, flags=model.flags)
        self.args = args
        self._flags = model.flags
        self.capacity = 2 * args.batch_size
        self._queue: deque[Request] = deque()
        device = args.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.renderer = ChatRenderer(model, trust_remote_code=trust_remote_code)
        kind = AutoModelForImageTextToText if self.renderer.sees else AutoModelForCausalLM
        dtype = precision_of(model.path, args, model.flags).dtype
        attention = args.attn_implementation
        flag = f"{model.flags.args} attn_implementation"
        settings = attention_settings(attention, dtype, device, flag)
        disable_progress_bar()  # of loading weights; the run has its own
        try:
            loaded = kind.from_pretrained(
                model.path,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=trust_remote_code,
                **settings,
            )
            set_attention(loaded, attention, device)
        except Exception as error:  # the library raises many kinds, all of them about this folder
            raise cannot_load(model, "transformers", error) from error
        if model.adapter is not None:
            loaded = merge(loaded, model.adapter, model.id)
        self.model = loaded.to(device)
        self.model.eval()
        self.tokenizer = self.renderer.tokenizer
        self.tokenizer.padding_side = "left"
        own = self.model.generation_config
        eos = own.eos_token_id if own.eos_token_id is not None else self.tokenizer.eos_token_id
        self.eos = {eos} if isinstance(eos, int) else set(eos or ())
        self.pad = self.tokenizer.pad_token_id
        if self.pad is None:
            self.pad = next(iter(self.eos), 0)
            self.tokenizer.pad_token = self.tokenizer.convert_ids_to_tokens(self.pad)
        # The model's own sampling defaults would replace every field that a request leaves unset.
        self.model.generation_config = GenerationConfig()
        limits = (args.max_model_len, self.renderer.context)
        self.context = min((n for n in limits if n is not None), default=2**31)

    def submit(self, request: Request) -> None:
        """Queue a request."""
        self._queue.append(request)

    def completions(self) -> Iterator[Completion]:
        """Yield completions, a batch at a time."""
        while self._queue:
            yield from self._run(self._next_batch())

    def scores(
        self, texts: Sequence[tuple[Request, Sequence[int]]], *, masked: bool = False
    ) -> list[tuple[float, ...] | str]:
        """Score one text after another; nothing is padded."""
        found: list[tuple[float, ...] | str] = []
        for request, tokens in texts:
            try:
                prompt = self.renderer.render(request)
                found.append(self._score(prompt.masked() if masked else prompt, tokens))
            except torch.cuda.OutOfMemoryError as error:
                raise GenerationError("the GPU's memory is full for one text") from error
            except Exception as error:  # fails this text only
                found.append(_reason(error))
        return found

    @torch.inference_mode()
    def _score(self, prompt: Prompt, tokens: Sequence[int]) -> tuple[float, ...]:
        inputs = self._encode([prompt]).to(self.model.device)
        added = torch.tensor([list(tokens)], device=self.model.device)  # (1, C)
        length = inputs["input_ids"].shape[1]
        fill = {"input_ids": added, "attention_mask": torch.ones_like(added)}
        for name in ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids"):
            if name in inputs:
                more = fill.get(name, torch.zeros_like(added))
                inputs[name] = torch.cat([inputs[name], more.to(inputs[name])], dim=1)
        logits = self.model(**inputs, use_cache=False).logits[0, length - 1 : -1]  # (C, V)
        chosen = logits.float().log_softmax(-1).gather(1, added[0, :, None])
        return tuple(chosen[:, 0].tolist())

    def close(self) -> None:
        """Free the model."""
        self._queue.clear()
        self.model = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _next_batch(self) -> list[Request]:
        """Take the oldest request and later ones that are sampled in the same way."""
        first = _way(self._queue[0].sampling)
        batch: list[Request] = []
        others: deque[Request] = deque()
        while self._queue and len(batch) < self.args.batch_size:
            request = self._queue.popleft()
            (batch if _way(request.sampling) == first else others).append(request)
        self._queue.extendleft(reversed(others))
        return batch

    def _run(self, requests: list[Request]) -> Iterator[Completion]:
        prompts: list[Prompt] = []
        for request in requests:
            if request.json_schema is not None:
                yield _failed(request, ValueError(NO_SCHEMA))
                continue
            try:
                prompts.append(self.renderer.render(request))
            except Exception as error:  # fails this sample only
                yield _failed(request, error)
        if not prompts:
            return
        try:
            completions = list(self._generate(prompts))
        except torch.cuda.OutOfMemoryError as error:
            raise GenerationError(
                f"the GPU's memory is full at batch_size {self.args.batch_size}; resume with a "
                f"smaller one: {self._flags.args} batch_size=…"
            ) from error
        except Exception as error:  # one odd sample can fail a whole batch
            if len(prompts) > 1:
                for prompt in prompts:
                    yield from self._run([prompt.request])
                return
            completions = [_failed(prompts[0].request, error)]
        yield from completions

    def _encode(self, prompts: list[Prompt]) -> Any:
        """Tokenize to a left-padded batch: input_ids and attention_mask (B, T), and pixels."""
        texts = [p.text for p in prompts]
        if self.renderer.sees:
            # By prompt, because some processors (Gemma 3) refuse one list for all of them.
            images = [p.images for p in prompts] if any(p.images for p in prompts) else None
            # Pass on everything that the processor returns: without mm_token_type_ids the
            # positions of image tokens are wrong, and no error is raised.
            return self.renderer.processor(
                text=texts, images=images, padding=True, return_tensors="pt"
            )
        return self.tokenizer(texts, padding=True, return_tensors="pt", add_special_tokens=False)

    @torch.inference_mode()
    def _generate(self, prompts: list[Prompt]) -> Iterator[Completion]:
        inputs = self._encode(prompts)
        lengths = inputs["attention_mask"].sum(dim=1).tolist()  # (B,)
        fits = [length < self.context for length in lengths]
        if not all(fits):
            for prompt, length, fit in zip(prompts, lengths, fits, strict=True):
                if not fit:
                    text = f"prompt of {length} tokens does not fit the context of {self.context}"
                    yield _failed(prompt.request, ValueError(text))
            prompts = [p for p, fit in zip(prompts, fits, strict=True) if fit]
            if not prompts:
                return
            inputs = self._encode(prompts)
            lengths = inputs["attention_mask"].sum(dim=1).tolist()
        device = self.model.device
        limits = [
            min(p.request.sampling.max_tokens, self.context - length)
            for p, length in zip(prompts, lengths, strict=True)
        ]
        width = inputs["input_ids"].shape[1]
        picker = _Picker([p.request for p in prompts], device, self.args.logprobs, self.banned)
        stop = list(prompts[0].request.sampling.stop)
        output = self.model.generate(
            **inputs.to(device),
            generation_config=GenerationConfig(
                do_sample=False,
                max_new_tokens=max(limits),
                eos_token_id=sorted(self.eos) or None,
                pad_token_id=self.pad,
                stop_strings=stop or None,
            ),
            logits_processor=picker.processors(),
            stopping_criteria=StoppingCriteriaList([_RowLimits(limits, width, device)]),
            **({"tokenizer": self.tokenizer} if stop else {}),
        )
        rows = output[:, width:].tolist()  # (B, new)
        for i, (prompt, row) in enumerate(zip(prompts, rows, strict=True)):
            logprobs = picker.logprobs(i)
            yield self._finish(prompt.request, row[: limits[i]], lengths[i], logprobs)

    def _finish(
        self, request: Request, ids: list[int], prompt_tokens: int, logprobs: list[float] | None
    ) -> Completion:
        end = next((i for i, token in enumerate(ids) if token in self.eos), None)
        finish = "length" if end is None else "stop"
        drawn = ids if end is None else ids[: end + 1]
        keep = self.renderer.keeps_marks
        shown = ids[:end] if keep else drawn
        text = self.tokenizer.decode(shown, skip_special_tokens=not keep)
        cuts = [at for s in request.sampling.stop if (at := text.find(s)) >= 0]
        if cuts:
            text, finish = text[: min(cuts)], "stop"
            # Rows that stopped early are padded to the batch's width.
            while drawn and end is None and drawn[-1] == self.pad:
                drawn = drawn[:-1]
        return Completion(
            request.key,
            text,
            finish,
            token_ids=tuple(drawn),
            logprobs=tuple(logprobs[: len(drawn)]) if logprobs is not None else None,
            usage=Usage(prompt_tokens, len(drawn)),
        )


def _way(sampling: Sampling) -> Sampling:
    """What a batch must share: everything except the seed and the limits, which are per row."""
    return replace(sampling, seed=0, n=1, max_tokens=0, min_pixels=0, max_pixels=0)


def _failed(request: Request, error: Exception) -> Completion:
    return failed(request, _reason(error))


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:500]
    known = isinstance(error, ImageError | ValueError)
    return text if known and text else f"{type(error).__name__}: {text}"


class _RowLimits(StoppingCriteria):
    """Ends each row at its own number of new tokens."""

    def __init__(self, limits: list[int], width: int, device: torch.device) -> None:
        self.limits = torch.tensor(limits, device=device)  # (B,)
        self.width = width

    def __call__(
        self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any
    ) -> torch.Tensor:
        return torch.full_like(self.limits, input_ids.shape[1] - self.width) >= self.limits


class _Picker(LogitsProcessor):
    """Samples tokens with one random generator per row, and records their log-probabilities.

    `generate` takes the argmax: of the scores if greedy, else of the scores plus Gumbel noise,
    which samples from their softmax. So a row depends only on its seed, not on its batch.
    """

    def __init__(
        self, requests: list[Request], device: torch.device, keep: bool, banned: tuple[int, ...]
    ) -> None:
        self.device, self.banned = device, list(banned)
        self.sampling = requests[0].sampling
        self.generators = [
            torch.Generator(device=device).manual_seed(request.seed) for request in requests
        ]
        self.kept: list[torch.Tensor] | None = [] if keep else None

    def processors(self) -> LogitsProcessorList:
        """The warpers of the sampling, in the usual order of engines, then this one."""
        s, steps = self.sampling, LogitsProcessorList()
        if self.banned:
            steps.append(SuppressTokensLogitsProcessor(self.banned, device=self.device))
        if s.repetition_penalty != 1.0:
            steps.append(RepetitionPenaltyLogitsProcessor(s.repetition_penalty))
        if s.temperature > 0:
            if s.temperature != 1.0:
                steps.append(TemperatureLogitsWarper(s.temperature))
            if s.min_p > 0:
                steps.append(MinPLogitsWarper(s.min_p))
            if s.top_k > 0:
                steps.append(TopKLogitsWarper(s.top_k))
            if s.top_p < 1:
                steps.append(TopPLogitsWarper(s.top_p))
        steps.append(self)
        return steps

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores (B, V) -> scores whose argmax is the sampled token."""
        scores = scores.float()
        noisy = scores
        if self.sampling.temperature > 0:
            uniform = torch.stack(
                [
                    torch.rand(scores.shape[1], generator=g, device=scores.device)
                    for g in self.generators
                ]
            )  # (B, V)
            noisy = scores - torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))
        if self.kept is not None:
            token = noisy.argmax(dim=-1, keepdim=True)
            logprob = scores.log_softmax(dim=-1).gather(1, token).squeeze(1)
            self.kept.append(logprob.cpu())  # (B,)
        return noisy

    def logprobs(self, row: int) -> list[float] | None:
        """Log-probability of each sampled token of a row, including those after its end."""
        if self.kept is None:
            return None
        return [step[row].item() for step in self.kept]
