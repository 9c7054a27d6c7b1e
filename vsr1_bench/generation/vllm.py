"""Backend `vllm`: vLLM's engine in this process, which takes requests while it answers others.

Several threads decode images and apply the chat template, one thread runs the model's multimodal
processor, and the thread that reads completions steps the engine. A completion is yielded as soon
as it is finished, without waiting for a batch.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, get_args

from pydantic import PositiveInt

from vsr1_bench.errors import GenerationError, UsageError
from vsr1_bench.generation.adapters import merged_folder
from vsr1_bench.generation.base import (
    EXTRA,
    PACE,
    ROUNDING,
    BackendArgs,
    InSpec,
    NotInSpec,
    ScoringGenerator,
    failed,
)
from vsr1_bench.generation.devices import check_devices
from vsr1_bench.generation.flags import RUN_FLAGS, Flags
from vsr1_bench.generation.models import ModelInfo
from vsr1_bench.generation.pixel_budget import PixelBudget, default_budget
from vsr1_bench.generation.precision import precision_of
from vsr1_bench.records import Completion, Request, Sampling, Usage

if TYPE_CHECKING:
    from vsr1_bench.generation.chat import Prompt

# An idle engine waits this long for prompts before its first step; a shorter gap ends the wait.
GATHER_SECONDS = 0.5
GAP_SECONDS = 0.02


class VllmArgs(BackendArgs):
    """`--model_args` of the vllm backend; all but the last group are vLLM's own."""

    dtype: Annotated[str, InSpec("model.precision")] = "auto"
    """`auto` is the checkpoint's own (see `generation.precision`), as in every backend."""
    max_model_len: Annotated[int | None, InSpec()] = None
    """Maximum tokens of prompt and response; None = by the checkpoint and the memory."""
    gpu_memory_utilization: Annotated[float, NotInSpec(PACE)] = 0.9
    """Share of the GPU's memory for the engine; ignored on a CPU."""
    tensor_parallel_size: Annotated[int, NotInSpec(ROUNDING)] = 1
    """GPUs that share each layer."""
    pipeline_parallel_size: Annotated[int, NotInSpec(ROUNDING)] = 1
    """Groups of GPUs that share the layers."""
    data_parallel_size: Annotated[int, NotInSpec(ROUNDING)] = 1
    """Copies of the model."""
    max_num_seqs: Annotated[int | None, NotInSpec(ROUNDING)] = None
    """Requests that run at the same time; None = vLLM's own."""
    max_num_batched_tokens: Annotated[int | None, NotInSpec(ROUNDING)] = None
    """Tokens of one forward pass; None = vLLM's own."""
    enforce_eager: Annotated[bool, NotInSpec(ROUNDING)] = False
    """No CUDA graphs: a faster start, slower generation."""
    enable_prefix_caching: Annotated[bool | None, NotInSpec(ROUNDING)] = None
    """Reuse equal beginnings of prompts; None = vLLM's own."""
    quantization: Annotated[str | None, InSpec("model.precision")] = None
    """Method of quantization; None = as the checkpoint states."""
    kv_cache_dtype: Annotated[str | None, InSpec("model.precision")] = None
    """Precision of the KV cache; None = that of the model."""
    mm_processor_cache_gb: Annotated[float, NotInSpec(PACE)] = 0.5
    """With vLLM's own default of 4, memory would keep growing over a run of many images."""
    limit_images: Annotated[
        int, NotInSpec("a prompt with more images is a failed sample, which a later run retries")
    ] = 16
    """Maximum number of images per prompt."""
    logprobs: Annotated[bool, NotInSpec(EXTRA)] = False
    """Store the log-probability of each token."""
    in_process: Annotated[bool | None, NotInSpec(PACE)] = None
    """Run the engine's core in this process; None = yes on CPU, no (its own process) on GPU."""
    capacity: Annotated[PositiveInt | None, NotInSpec(PACE)] = None
    """Requests held at once; None = 512, or more if the engine can run more."""
    pixel_budget: Annotated[PositiveInt | None, NotInSpec(PACE)] = None
    """Decoded pixels held at once over all requests, 27 bytes each; None = by the memory of this
    machine (see `pixel_budget.default_budget`)."""
    threads: Annotated[int, NotInSpec(PACE)] = 4
    """Threads that decode images."""


class VllmGenerator(ScoringGenerator):
    """A vLLM engine."""

    def __init__(
        self,
        model: ModelInfo,
        args: VllmArgs,
        *,
        trust_remote_code: bool = False,
        engine: Any = None,
    ) -> None:
        """Start the engine, or use one that is running (vLLM's `LLM(...).llm_engine`).

        Raises:
            ModelError: vLLM cannot load the model.
            UsageError: these settings exclude each other.
        """
        check_devices("vllm", args, flags=model.flags)
        self.args = args
        prepare_environment(args)
        check_formats(args, model.flags)
        from vllm.engine.arg_utils import EngineArgs
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.llm_engine import LLMEngine

        from vsr1_bench.generation.chat import ChatRenderer, cannot_load

        self.renderer = ChatRenderer(model, trust_remote_code=trust_remote_code)
        dtype = precision_of(model.path, args, model.flags).dtype
        self._files = ExitStack()
        merged = self._files.enter_context(
            merged_folder(model, dtype, trust_remote_code=trust_remote_code)
        )
        settings = self._settings(merged, trust_remote_code=trust_remote_code)
        try:
            # `LLM_CLASS` gives the batch sizes of offline use; the default context gives those of
            # an unknown caller: 128 sequences, 2,048 tokens.
            self.engine = engine or LLMEngine.from_engine_args(
                EngineArgs(**settings), usage_context=UsageContext.LLM_CLASS
            )
        except Exception as error:  # vLLM raises many kinds at start, all about model and settings
            self._files.close()
            raise cannot_load(model, "vllm", error) from error
        self._outstanding: dict[str, Request] = {}
        self._ready: queue.SimpleQueue[tuple[Request, Any]] = queue.SimpleQueue()
        self._decoders = ThreadPoolExecutor(args.threads, thread_name_prefix="vllm-images")
        # One thread only: vLLM's multimodal processor and its cache are not safe for several.
        self._processor = ThreadPoolExecutor(1, thread_name_prefix="vllm-processor")
        on_gpu = self.engine.vllm_config.device_config.device_type != "cpu"
        self._budget = PixelBudget(args.pixel_budget or default_budget(on_gpu=on_gpu))
        self._most = self.engine.vllm_config.scheduler_config.max_num_seqs
        self.capacity = args.capacity or max(512, self._most)
        self._closed = threading.Event()

    def submit(self, request: Request) -> None:
        """Start preparing a request."""
        self._outstanding[request.key] = request
        self._decoders.submit(self._decode, request)

    def _decode(self, request: Request) -> None:
        try:
            prompt = self.renderer.render(request)
        except Exception as error:  # fails this sample only
            self._ready.put((request, error))
            return
        self._budget.take(request.key, prompt.pixels)
        self._processor.submit(self._process, request, prompt)

    def _process(self, request: Request, prompt: Any) -> None:
        if self._closed.is_set():
            return
        try:
            ready = self._input(prompt)
        except Exception as error:  # fails this sample only
            ready = error
        self._ready.put((request, ready))

    def _input(self, prompt: Prompt, tokens: Sequence[int] = ()) -> Any:
        """A prompt in vLLM's form, with `tokens` after it."""
        # Token ids with one placeholder per image; vLLM expands them.
        ids = self.renderer.tokenizer.encode(prompt.text, add_special_tokens=False)
        prompt_input: dict[str, Any] = {"prompt_token_ids": [*ids, *tokens]}
        if prompt.images:
            prompt_input["multi_modal_data"] = {"image": prompt.images}
        (ready,) = self.engine.renderer.render_cmpl([prompt_input])
        return ready

    @property
    def longest_scored(self) -> int | None:
        """One less than the context: vLLM scores a text as a prompt, with room for a token more."""
        return int(self.engine.model_config.max_model_len) - 1

    def scores(
        self, texts: Sequence[tuple[Request, Sequence[int]]], *, masked: bool = False
    ) -> list[tuple[float, ...] | str]:
        """Score continuations as parts of prompts (`prompt_logprobs`)."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        # Temperature and bans do not affect prompt log-probs.
        params = SamplingParams(
            max_tokens=1,
            temperature=0.0,
            prompt_logprobs=0,
            flat_logprobs=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        found: dict[str, tuple[float, ...] | str] = {}
        for number, (request, tokens) in enumerate(texts):
            key = f"score-{number}"
            try:
                prompt = self.renderer.render(request)
                ready = self._input(prompt.masked() if masked else prompt, tokens)
                self.engine.add_request(key, ready, params.clone())
            except refusals() as error:  # an image that cannot be read, a text that is too long
                found[key] = " ".join(str(error).split())[:500]
            except Exception as error:  # the engine's state is unknown now
                raise died(error) from error
        try:
            while self.engine.has_unfinished_requests():
                for output in self.engine.step():
                    if output.finished:
                        tokens = texts[int(output.request_id.removeprefix("score-"))][1]
                        found[output.request_id] = _last(output, tokens)
        except Exception as error:
            raise died(error) from error
        return [found[f"score-{number}"] for number in range(len(texts))]

    def completions(self) -> Iterator[Completion]:
        """Step the engine and yield what finishes."""
        while self._outstanding:
            for request, ready in self._prepared():
                if (refused := self._add(request, ready)) is not None:
                    yield refused
            if not self.engine.has_unfinished_requests():
                continue
            try:
                outputs = self.engine.step()
            except Exception as error:  # the engine's state is unknown now
                raise died(error) from error
            for output in outputs:
                if output.finished:
                    request = self._outstanding.pop(output.request_id)
                    self._budget.give_back(request.key)
                    yield self._completion(request, output)

    def _prepared(self) -> list[tuple[Request, Any]]:
        """Take the prepared requests; if the engine is idle, wait for some.

        A step with one prompt costs as much as one with fifty. So an idle engine also waits for
        requests that follow closely, until it has as many as it can run at once.
        """
        taken: list[tuple[Request, Any]] = []
        idle = not self.engine.has_unfinished_requests()
        wanted = min(len(self._outstanding), self._most)
        until = time.monotonic() + GATHER_SECONDS
        while True:
            try:
                if not idle:
                    taken.append(self._ready.get_nowait())
                elif not taken:
                    taken.append(self._ready.get(timeout=0.5))  # the limit lets Ctrl-C in
                elif len(taken) < wanted and time.monotonic() < until:
                    taken.append(self._ready.get(timeout=GAP_SECONDS))
                else:
                    return taken
            except queue.Empty:
                return taken

    def _add(self, request: Request, ready: Any) -> Completion | None:
        """Submit a prepared request to the engine; return a completion if that fails."""
        if not isinstance(ready, Exception):
            try:
                params = self._params(request)
            except Exception as error:  # a value that this vLLM refuses
                ready = error
        if not isinstance(ready, Exception):
            try:
                self.engine.add_request(request.key, ready, params)
                return None
            except refusals() as error:  # e.g. a prompt longer than the context
                ready = error
            except Exception as error:  # the engine's process is gone
                raise died(error) from error
        del self._outstanding[request.key]
        self._budget.give_back(request.key)
        reason = " ".join(str(ready).split())[:500]
        return failed(request, reason)

    def _params(self, request: Request) -> Any:
        """The sampling parameters of a request in vLLM's form."""
        return sampling_params(
            request.sampling,
            request.seed,
            self.args.logprobs,
            request.json_schema,
            keep_marks=self.renderer.keeps_marks,
        )

    def _settings(self, model: ModelInfo, *, trust_remote_code: bool) -> dict[str, Any]:
        """The engine's arguments."""
        settings = engine_settings(
            model, self.args, self.renderer.sees, trust_remote_code=trust_remote_code
        )
        return settings | {"use_tqdm_on_load": False}  # the run has its own bar

    def _completion(self, request: Request, output: Any) -> Completion:
        sampled = output.outputs[0]
        return Completion(
            request.key,
            sampled.text,
            "length" if sampled.finish_reason == "length" else "stop",
            token_ids=tuple(sampled.token_ids),
            logprobs=None if sampled.logprobs is None else tuple(sampled.logprobs.logprobs),
            usage=Usage(len(output.prompt_token_ids or ()), len(sampled.token_ids)),
        )

    def close(self) -> None:
        """Stop the threads and the engine."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._budget.open()
        self._decoders.shutdown(wait=True, cancel_futures=True)
        self._processor.shutdown(wait=True, cancel_futures=True)
        self.engine.engine_core.shutdown()
        self.engine.renderer.shutdown()
        self._files.close()


def _last(output: Any, tokens: Sequence[int]) -> tuple[float, ...]:
    """The log-probabilities of a scored prompt's last tokens."""
    return tuple(output.prompt_logprobs.logprobs[-len(tokens) :])


@cache
def refusals() -> tuple[type[Exception], ...]:
    """What vLLM raises for a request that it refuses; the engine goes on."""
    from vllm import exceptions

    # From vLLM 0.32 on these are no ValueErrors.
    return ValueError, getattr(exceptions, "VLLMClientError", ValueError)


def died(error: Exception) -> GenerationError:
    """The one-line error for an engine that ended."""
    reason = " ".join(str(error).split())[:300]
    return GenerationError(f"the vLLM engine died: {type(error).__name__}: {reason}")


def prepare_environment(args: VllmArgs) -> None:
    """Set the environment variables that vLLM reads at import, unless the user has set them."""
    import torch

    in_process = args.in_process if args.in_process is not None else not torch.cuda.is_available()
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0" if in_process else "1"
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_CONFIGURE_LOGGING", "1")
    if not torch.cuda.is_available():
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        # oneDNN keeps a compiled kernel for each of the last 1,024 shapes. Prompts have ever new
        # shapes, so the memory of a long run would keep growing.
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")


def check_formats(args: VllmArgs, flags: Flags = RUN_FLAGS) -> None:
    """Refuse formats of weights and of the KV cache that vLLM does not know; loads nothing.

    Raises:
        UsageError: lists those that it knows.
    """
    if args.quantization is not None:
        from vllm.model_executor.layers.quantization import QUANTIZATION_METHODS

        _refuse_unknown(flags, "quantization", args.quantization, QUANTIZATION_METHODS)
    if args.kv_cache_dtype is not None:
        from vllm.config.cache import CacheDType

        _refuse_unknown(flags, "kv_cache_dtype", args.kv_cache_dtype, get_args(CacheDType))


def _refuse_unknown(flags: Flags, name: str, given: str, known: Sequence[str]) -> None:
    if given not in known:
        listed = ", ".join(sorted(known))
        raise UsageError(f"{flags.args} {name}={given}: backend 'vllm' knows {listed}")


def engine_settings(
    model: ModelInfo, args: VllmArgs, sees: bool, *, trust_remote_code: bool
) -> dict[str, Any]:
    """The engine's arguments; None leaves a choice to vLLM."""
    import torch

    passed = args.model_dump(
        exclude={"limit_images", "logprobs", "in_process", "capacity", "pixel_budget", "threads"}
    )
    settings = {name: value for name, value in passed.items() if value is not None}
    settings |= {
        "model": str(model.path),
        # `auto` is not left to the engine, so that every backend loads the same numbers.
        "dtype": precision_of(model.path, args, model.flags).dtype,
        "trust_remote_code": trust_remote_code,
        "generation_config": "vllm",  # ignore the model's own sampling defaults
        "disable_log_stats": True,
        # Log-probs of the distribution that was sampled from, as in the transformers backend.
        "logprobs_mode": "processed_logprobs",
    }
    if sees:
        settings["limit_mm_per_prompt"] = {"image": args.limit_images, "video": 0}
    if not torch.cuda.is_available():
        # On CPU a seeded request fails in a chunked prefill ("CPU Generator does not use offset").
        settings["enable_chunked_prefill"] = False
        settings["distributed_executor_backend"] = "uni"
        # The samples of a prompt share whole blocks of its KV cache only; vLLM's default on CPU is
        # 128 tokens. Attention takes as long with blocks of 32.
        settings["block_size"] = 32
        settings.pop("gpu_memory_utilization")
    return settings


def sampling_params(
    sampling: Sampling,
    seed: int,
    logprobs: bool,
    schema: Mapping[str, Any] | None = None,
    *,
    keep_marks: bool = False,
) -> Any:
    """Every sampling field in vLLM's form; with `keep_marks`, special tokens stay in the text."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    return SamplingParams(
        n=1,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        repetition_penalty=sampling.repetition_penalty,
        presence_penalty=sampling.presence_penalty or 0.0,
        frequency_penalty=sampling.frequency_penalty or 0.0,
        max_tokens=sampling.max_tokens,
        stop=list(sampling.stop),
        seed=seed if sampling.temperature > 0 else None,
        logprobs=0 if logprobs else None,  # 0 = of the sampled token only
        flat_logprobs=logprobs,  # a list of numbers, instead of objects for each token
        output_kind=RequestOutputKind.FINAL_ONLY,
        skip_special_tokens=not keep_marks,
        # If white space is allowed in JSON, a small model may write nothing else.
        structured_outputs=StructuredOutputsParams(json=dict(schema), disable_any_whitespace=True)
        if schema is not None
        else None,
    )
