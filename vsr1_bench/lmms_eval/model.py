"""`python -m lmms_eval --model vsr1 --model_args model=ID,backend=…`: our Generator as its model.

It takes any backend of this project. `--model_args` are this project's own, and the engine does its
own batching, so `--batch_size` has no effect. With `journal=FILE` every response is stored as soon
as it exists, and the same command after a crash asks only for what is missing.
"""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from lmms_eval.api.instance import GenerationResult, TokenCounts
from lmms_eval.api.model import lmms

from vsr1_bench._util.progress import progress_bar
from vsr1_bench.errors import GenerationError, UsageError
from vsr1_bench.generation.base import Generator
from vsr1_bench.generation.identity import identify
from vsr1_bench.generation.models import find_model
from vsr1_bench.generation.open import choose_backend, open_generator, suited_backend
from vsr1_bench.lmms_eval.messages import read_messages, sampling_of
from vsr1_bench.pipeline.plan import make_sampling
from vsr1_bench.records import Generation, Request, Usage
from vsr1_bench.store.journal import Journal, Lock, read_journal
from vsr1_bench.store.lines import record_as
from vsr1_bench.store.spec import canonical_json, request_key
from vsr1_bench.store.writer import generation_of


class Vsr1(lmms):  # type: ignore[misc, unused-ignore]
    """A model of lmms-eval that uses this project's generation path."""

    is_simple = False

    def __init__(
        self,
        model: str = "tiny",
        backend: str = "auto",
        base_url: str | None = None,
        revision: str | None = None,
        seed: int = 0,
        journal: str | None = None,
        trust_remote_code: bool = False,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        device: str | None = None,
        **model_args: Any,
    ) -> None:
        """Find the model; the engine starts with the first request.

        Args:
            model: `tiny`, a folder, a hub id, or the served id of an endpoint.
            backend: auto, vllm, transformers, openai, scripted.
            base_url: OpenAI-compatible endpoint; its key: OPENAI_API_KEY.
            revision: Of the model, on the hub.
            seed: Seed of all sampling.
            journal: File to store responses in; None = they are not stored.
            trust_remote_code: Execute code that comes with the model.
            batch_size: Ignored (lmms-eval passes it): each backend schedules its own requests.
            max_batch_size: Ignored as well.
            device: Device of backend transformers.
            model_args: min_pixels, max_pixels, and the arguments of the backend.

        Raises:
            UsageError: an argument that the backend does not take, or several processes.
            ModelError: no such model.
        """
        super().__init__()
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise UsageError(
                f"--model vsr1 is one process, but WORLD_SIZE is {os.environ['WORLD_SIZE']}: start "
                "it without a launcher; for several GPUs use --model_args tensor_parallel_size=… "
                "or data_parallel_size=… (backend vllm)"
            )
        self._backend = choose_backend(backend, base_url)
        script = model_args.get("script")
        self._info = find_model(
            model,
            backend=self._backend,
            base_url=base_url,
            revision=revision,
            script=str(script) if script else None,
            trust_remote_code=trust_remote_code,
        )
        own = {k: v for k, v in model_args.items() if k not in ("min_pixels", "max_pixels")}
        self._backend = suited_backend(backend, self._backend, self._info, own)
        if device is not None and self._backend == "transformers":
            model_args["device"] = device
        self._sampling: dict[str, Any] = {"seed": int(seed)}
        for bound in ("min_pixels", "max_pixels"):
            if bound in model_args:
                self._sampling[bound] = int(model_args.pop(bound))
        make_sampling(self._sampling, self._info)
        self._model_args, self._trust = model_args, trust_remote_code
        identity = identify(self._backend, self._info, model_args)
        precision = identity.precision.model_dump() if identity.precision else None
        self._identity = [part for part in (precision, identity.engine) if part]
        self._journal = Path(journal) if journal else None
        self._stack = ExitStack()
        self._engine: Generator | None = None

    def generate_until(self, requests: Sequence[Any]) -> list[GenerationResult]:
        """Answer all requests, in their order.

        Raises:
            GenerationError: some requests failed; with a journal, the others are stored.
        """
        known = self._known()
        answers: dict[str, Generation] = {}
        keys: list[str] = []
        ours = self._requests(requests, keys)
        bar = progress_bar(len(requests), "generate", "resp")
        with ExitStack() as stack:
            stack.enter_context(bar)
            lines: Journal | None = None
            if self._journal is not None:
                lock = Lock(self._journal.with_name(f".{self._journal.name}.lock"))
                stack.callback(lock.release)
                lines = stack.enter_context(Journal(self._journal))

            def missing() -> Iterator[Request]:
                for request in ours:
                    if (generation := known.get(request.key)) is not None:
                        answers[request.key] = generation
                        bar.update()
                    else:
                        pending[request.key] = request
                        yield request

            pending: dict[str, Request] = {}
            for completion in self._answer(missing()):
                generation = generation_of(pending.pop(completion.key), completion, 0.0)
                if lines is not None:
                    lines.append(asdict(generation))
                answers[generation.key] = generation
                bar.update()
        failed = [generation for generation in answers.values() if generation.error is not None]
        if failed:
            kept = f"the others are in {self._journal}" if self._journal else "none is stored"
            raise GenerationError(
                f"{len(failed)} of {len(keys)} requests failed, the first: {failed[0].error}; "
                f"{kept} (--model_args journal=FILE stores them): run the same command again"
            )
        return [_result(answers[key].text, answers[key].usage) for key in keys]

    def _requests(self, requests: Sequence[Any], keys: list[str]) -> Iterator[Request]:
        """Make our requests one by one; images are held only while a request is running."""
        repeats: dict[tuple[str, int], int] = {}
        for one in requests:
            _, to_messages, settings, document, task, split = one.args
            messages, images = read_messages(to_messages(self.task_dict[task][split][document]))
            stop = list(settings.get("until") or ()) != _injected(to_messages)
            given = {**sampling_of(settings, stop=stop), **self._sampling}
            sampling = make_sampling(given, self._info)
            place = (str(task), int(document))
            index = repeats.get(place, 0)
            repeats[place] = index + 1
            sample_id = f"{task}/{document}"
            fields = {n: v for n, v in asdict(sampling).items() if v is not None}
            decides = [self._info.fingerprint, fields, *self._identity]
            digest = hashlib.sha256(canonical_json(decides).encode()).hexdigest()
            key = request_key(digest, sample_id, messages, images, index)
            keys.append(key)
            yield Request(key, messages, sampling, images, sample_id, index)

    def _answer(self, requests: Iterator[Request]) -> Iterator[Any]:
        first = next(requests, None)
        if first is None:
            return
        if self._engine is None:
            self._engine = self._stack.enter_context(
                open_generator(
                    self._backend,
                    self._info,
                    self._model_args,
                    trust_remote_code=self._trust,
                )
            )
        yield from self._engine.generate(chain((first,), requests))

    def _known(self) -> dict[str, Generation]:
        if self._journal is None or not self._journal.exists():
            return {}
        records = (record_as(Generation, line) for line in read_journal(self._journal))
        return {generation.key: generation for generation in records if generation.error is None}

    def loglikelihood(self, requests: Sequence[Any]) -> Any:
        """Refused: likelihoods of given answers need no generation.

        Raises:
            UsageError: always.
        """
        raise UsageError("--model vsr1 generates; loglikelihood tasks need another model")

    def generate_until_multi_round(self, requests: Sequence[Any]) -> Any:
        """Refused: this model gives one answer per document.

        Raises:
            UsageError: always.
        """
        raise UsageError("--model vsr1 gives one answer per document; this task has several rounds")

    def clean(self) -> None:
        """Free the engine; lmms-eval's evaluator calls this before it scores."""
        self._engine = None
        self._stack.close()


def _injected(to_messages: Any) -> list[str]:
    """What lmms-eval adds as `until` to a task that sets none; by default a blank line.

    It would cut reasoning at its first blank line, so it is not a stop string here; lmms-eval's
    own vLLM model does not stop there either. `to_messages` is a method of the task.
    """
    if inspect.ismethod(to_messages):
        task: Any = to_messages.__self__
        return [task.config.fewshot_delimiter]
    return ["\n\n"]


def _result(text: str, usage: Usage) -> GenerationResult:
    counts = TokenCounts(input_tokens=usage.prompt_tokens, output_tokens=usage.completion_tokens)
    return GenerationResult(text=text, token_counts=counts)
