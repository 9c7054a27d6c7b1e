"""Visual dependence (`--visual_dependence`): does a response need the image?

Each stored response is scored under its prompt twice, with the images and with masked ones. Its
dependence is the mean over its tokens of the k3 estimate of KL(seeing || masked), in nats. The
training add-on computes the same of its rollouts. A stored response has no token ids, so its text
is tokenized again, without the token that ended it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice

from vsr1_bench._util.progress import progress_bar
from vsr1_bench.errors import UsageError
from vsr1_bench.generation.base import Generator, ScoringGenerator
from vsr1_bench.generation.tally import Tally
from vsr1_bench.pipeline.stream import TaskRun, requests_of
from vsr1_bench.records import Dependence, Generation, Request
from vsr1_bench.store.dependences import read_dependences
from vsr1_bench.store.journal import Journal
from vsr1_bench.store.run_folder import Shard, shard_part, utc_now

log = logging.getLogger(__name__)

BACKENDS = ("vllm", "transformers")
"""Those that return log-probs of prompts."""
TOGETHER = 16
"""Responses that are scored at a time, and lost if the process is killed."""
KL_CLAMP = 10.0
LOG_RATIO_CLAMP = 20.0


def dependence(seen: Sequence[float], unseen: Sequence[float]) -> float:
    """The mean over tokens of `exp(d) - d - 1`, d = masked - seeing log-prob, at most `KL_CLAMP`.

    Args:
        seen: Log-probs with the images, at least one.
        unseen: Log-probs with masked images.
    """
    total = 0.0
    for with_image, masked in zip(seen, unseen, strict=True):
        gap = max(-LOG_RATIO_CLAMP, min(LOG_RATIO_CLAMP, masked - with_image))
        total += min(KL_CLAMP, math.exp(gap) - gap - 1)
    return total / len(seen)


def check_backend(backend: str, batch: bool = False) -> None:
    """Refuse a backend that returns no log-probs of prompts.

    Raises:
        UsageError: names those that do.
    """
    if backend not in BACKENDS or batch:
        raise UsageError(
            f"--visual_dependence: backend {backend!r} returns no log-probs of prompts; "
            f"{' and '.join(BACKENDS)} do"
        )


def measure_dependences(
    runs: Sequence[TaskRun], opening: Callable[[], Generator], *, shard: Shard, progress: bool
) -> None:
    """Score what has no stored dependence yet; each run gets a tally.

    Hold the folders' locks. The engine is opened only if something is missing.

    Raises:
        GenerationError: the engine cannot continue.
        StoreError: a journal is damaged or cannot be written.
    """
    for run in runs:
        if run.blind:
            continue
        tally = Tally("visual dependences")
        run.further.append(tally)
        missing = _missing(run, tally, shard)
        journal = run.folder.path / f"dependences{shard_part(shard)}.jsonl"
        bar = progress_bar(run.total, "visual dependence", "resp", shown=progress)
        with bar:
            while texts := list(islice(missing, TOGETHER)):
                engine = opening()
                if not isinstance(engine, ScoringGenerator):
                    raise UsageError("--visual_dependence: this engine returns no log-probs")
                found = _scored(engine, texts)
                with Journal(journal) as file:
                    for one in found:
                        file.append(asdict(one))
                        tally.note(one.error)
                        bar.update()


def _missing(run: TaskRun, tally: Tally, shard: Shard) -> Iterator[tuple[Request, Generation]]:
    """Requests with images whose response is stored and whose dependence is not."""
    known = {key for key, one in read_dependences(run.folder).items() if one.error is None}
    stored = {
        key: made
        for key, made in run.folder.generations().items()
        if made.error is None and made.text
    }
    for place, sample in run.data.placed_samples(run.samples, lambda places, error: None):
        if place % shard[1] != shard[0] or not sample.images:
            continue
        for request in requests_of(run, sample):
            if request.key in known:
                tally.note(None)
            elif request.key in stored:
                yield request, stored[request.key]


def _scored(
    engine: ScoringGenerator, texts: Sequence[tuple[Request, Generation]]
) -> list[Dependence]:
    asked: list[tuple[Request, list[int]]] = []
    found = []
    for request, made in texts:
        tokens: list[int] = []
        try:
            engine.renderer.refuse_reserved([made.text])
            tokens = engine.renderer.tokenizer.encode(made.text, add_special_tokens=False)
            _refuse_size((made.usage.prompt_tokens or 0) + len(tokens), engine.longest_scored)
        except ValueError as refused:
            log.warning("the response to %s is not scored: %s", request.sample_id, refused)
            found.append(_line(request, len(tokens), None, unscorable=str(refused)))
            continue
        if tokens:
            asked.append((request, tokens))
    both = zip(asked, engine.scores(asked), engine.scores(asked, masked=True), strict=True)
    for (request, tokens), seen, unseen in both:
        error = seen if isinstance(seen, str) else unseen if isinstance(unseen, str) else None
        value = None
        if not isinstance(seen, str) and not isinstance(unseen, str):
            value = dependence(seen, unseen)
        found.append(_line(request, len(tokens), value, error))
    return found


def _refuse_size(size: int, longest: int | None) -> None:
    """Refuse a text that the engine cannot score.

    Raises:
        ValueError: it has too many tokens.
    """
    if longest is not None and size > longest:
        raise ValueError(
            f"prompt and response fill the context: {size} tokens, at most {longest} can be scored"
        )


def _line(
    request: Request,
    tokens: int,
    value: float | None,
    error: str | None = None,
    unscorable: str | None = None,
) -> Dependence:
    return Dependence(
        key=request.key,
        sample_id=request.sample_id,
        index=request.index,
        value=value,
        tokens=tokens,
        error=error,
        unscorable=unscorable,
        created=utc_now(),
    )
