"""Supervised fine-tuning: the cold start, with the engine, checkpoints and metrics of GRPO.

The loss is the mean negative log-likelihood in nats per token. It covers the tokens of the replies
and the token that ends a turn, and no token of a prompt. Prompts are read with the model's own chat
template and processor, as in evaluation.
"""

from __future__ import annotations

import logging
import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from vsr1_bench.data.dataset import fingerprint_of
from vsr1_bench.data.training_rows import open_rows
from vsr1_bench.errors import TaskError
from vsr1_bench.generation.chat import ChatRenderer
from vsr1_bench.generation.families import check_trainable
from vsr1_bench.generation.models import ModelInfo, find_model
from vsr1_bench.pipeline.plan import make_sampling
from vsr1_bench.prompts.formats import get_format
from vsr1_bench.records import Request, Sampling

from .conversations import Example, examples_of
from .core.encoding import Encoder, TrainRow, order_of, reason_of
from .core.engine import TrainingEngine
from .core.lockstep import dummy_rows, lockstep
from .core.logprobs import score_batch
from .core.metrics import StepMetrics
from .core.ranks import Ranks, TrainError, seed_all
from .core.session import Session, train_safely
from .sft_recipe import GLANCES, MIXTURE, PRIOR_GLANCES, UNTRAINED, SftRecipe

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

REASONS = 5
"""Number of reasons for skipped conversations that an error lists."""
EARLY = 0.25
"""Fraction of the schedule that uses the mixture's early shares."""


def train(recipe: SftRecipe, *, accept_changed_data: bool = False) -> Session:
    """Train to the end of the schedule, from the newest checkpoint of `output_dir` if there is one.

    Returns:
        See `train_safely`; `steps` is the number of updates.

    Raises:
        UsageError, ModelError, TaskError, StoreError: before anything is trained.
        TrainError: afterwards; the last checkpoint is complete, the same command continues.
    """
    return train_safely(lambda stack: SftTrainer(recipe, stack, accept_changed_data))


class SftTrainer(Session):
    """A run of supervised fine-tuning."""

    label, shown, rate = "train sft", "loss", ("tokens_trained", "step")

    def __init__(
        self, recipe: SftRecipe, stack: ExitStack, accept_changed_data: bool = False
    ) -> None:
        """Start everything; `stack` closes what is opened."""
        super().__init__(recipe, stack)
        self.accept_changed_data = accept_changed_data
        self.model = starting_model(recipe, self.ranks)
        self.encoder = Encoder(ChatRenderer(self.model))
        bounds = {n: v for n in ("min_pixels", "max_pixels") if (v := getattr(recipe, n))}
        self.sampling = make_sampling(bounds, self.model)
        data = open_examples(recipe, self.ranks)
        self.recipe = recipe.planned(data.count)
        self.batches = Batches(self.recipe, self.encoder, self.sampling, data)
        self.engine = TrainingEngine(self.recipe, self.model, self.encoder.renderer, self.ranks)
        self.encoder.make_batches_for(self.engine.policy)
        # After the engine has started, because it reseeds every random generator.
        seed_all(recipe.seed + self.ranks.rank)
        self.dummies = dummy_rows(self.encoder, self.sampling)
        self.resume(self.recipe, self.recipe.steps, stack, rows=data.fingerprint)
        if self.progress.step < self.steps:
            self._batch(StepMetrics())  # fail here if the data cannot be used

    def step(self, metrics: StepMetrics) -> None:
        """One update on one batch."""
        recipe, ranks, step = self.recipe, self.ranks, self.progress.step
        batch = self._batch(metrics)
        rows = self._readable(batch[ranks.rank :: ranks.world], metrics)
        plan = lockstep(
            self.encoder, ranks, rows, recipe.microbatch_tokens, max(1, len(rows)), self.dummies
        )
        learnt = sum(ranks.gather(sum(len(row.tokens) for row in rows)))
        if not learnt:  # on every rank alike
            self.log(metrics, step + 1)
            raise TrainError(f"no example of step {step + 1} can be read; see the warnings above")
        metrics.add("lr", self.engine.engine.get_lr()[0], 1)
        with metrics.phase("update"):
            stats = self.engine.update(
                plan, lambda micro: self.loss(micro, learnt, metrics), step + 1
            )
        self.encoder.forget()
        self.progress.step += 1
        self.progress.cursor += recipe.batch_size
        for name, value in stats.items():
            metrics.add(name, value, 1)
        metrics.count("tokens_learnt", float(learnt if ranks.first else 0))

    def _batch(self, metrics: StepMetrics) -> list[TrainRow]:
        """The rows of the next update; what was skipped is counted, and logged if none is left."""
        step, failure = self.progress.step, None
        try:
            batch = self.batches.batch(step)
        except NoExamplesError as error:
            batch, failure = error.skipped, error
        if self.ranks.first:
            metrics.count("examples/overlong", batch.overlong)
            metrics.count("examples/unusable", sum(batch.unusable.values()))
        if failure:
            self.log(metrics, step + 1)
            raise failure
        return batch.rows

    def _readable(self, rows: Sequence[TrainRow], metrics: StepMetrics) -> list[TrainRow]:
        """Encode this rank's prompts; those that the processor refuses are skipped and counted."""
        readable = []
        for row in rows:
            try:
                row.prompt_tokens = int(self.encoder.encode(row.request)["input_ids"].shape[1])
            except Exception as error:  # untrusted data: sides of 200 to 1, a decoder's bug
                where, reason = row.request.sample_id, reason_of(error)
                log.warning("skipped an example: %s", f"{where}: {reason}" if where else reason)
                metrics.count("examples/unusable", 1)
                continue
            readable.append(row)
        return readable

    def loss(self, micro: Sequence[TrainRow], learnt: int, metrics: StepMetrics) -> Tensor:
        """A micro-batch's share of the batch's loss, with its gradient.

        Args:
            micro: Its rows; a dummy row of lockstep has no share.
            learnt: Number of learnt tokens of the batch, on all ranks.
            metrics: Counts the tokens that pass through the model.
        """
        batch = self.encoder.collate(micro)
        metrics.count("tokens_trained", float(sum(batch.prompts) + sum(batch.lengths)))
        metrics.count("flops", self.engine.work.of(batch))
        logprobs, _ = score_batch(self.engine.engine, batch, temperature=1.0, bans=False)  # (N,)
        share = 0.0 if micro[0] in self.dummies.values() else 1 / learnt
        return -logprobs.sum() * share


def starting_model(recipe: SftRecipe, ranks: Ranks) -> ModelInfo:
    """The model that training starts from; `tiny/untrained` is first made in `output_dir`."""

    def find() -> ModelInfo:
        if recipe.model != UNTRAINED:
            return check_trainable(
                find_model(recipe.model, backend="transformers", offline=recipe.offline)
            )
        folder = recipe.output_dir / "untrained"
        if not folder.is_dir():
            make_untrained(folder, recipe.seed)
        return find_model(str(folder), backend="transformers")

    return ranks.rank0_first(find)


def make_untrained(folder: Path, seed: int) -> None:
    """Write the embedded model with random weights; the folder is complete or absent."""
    from vsr1_bench.tiny.architecture import build_model, build_processor, save

    from .tiny_mixture import corpus

    work = folder.with_name(f".{folder.name}.tmp")
    processor = build_processor(corpus())
    save(build_model(processor.tokenizer, seed=seed), processor, work)
    work.rename(folder)


@dataclass(frozen=True, slots=True)
class Examples:
    """Conversations by number."""

    make: Callable[[int], list[Example]]
    count: int
    """0 = generated without end."""
    place: Callable[[int], str] = lambda number: ""
    """The position of a conversation in its file."""
    fingerprint: str | None = None
    """Fingerprint of all rows, as the evaluator computes it; None = generated rows."""


def open_examples(recipe: SftRecipe, ranks: Ranks) -> Examples:
    """The conversations of a recipe.

    Raises:
        UsageError, TaskError: the data are missing or cannot be read.
    """
    if recipe.dataset == (MIXTURE,):
        from .tiny_mixture import make_example

        early = EARLY * (recipe.schedule_steps or 0) * recipe.batch_size
        return Examples(lambda n: [make_example(n, recipe.seed, early=n < early)], 0)
    if recipe.dataset[0] in (GLANCES, PRIOR_GLANCES):
        from vsr1_bench.tiny.priors import make_prior_row
        from vsr1_bench.tiny.scenes import make_row

        from .tiny_mixture import make_glance

        make = make_row if recipe.dataset == (GLANCES,) else make_prior_row
        return Examples(lambda n: [make_glance(make, n, recipe.seed)], 0)
    prompt, downloads = get_format(recipe.prompt), recipe.output_dir / "data"
    where = (recipe.dataset, recipe.image_folder, downloads)
    rows = ranks.rank0_first(lambda: open_rows(*where, offline=recipe.offline or not ranks.first))
    if not len(rows):
        raise TaskError(f"dataset {', '.join(recipe.dataset)} holds no rows")
    # Hashed by one rank, because all have the same files.
    own = fingerprint_of(rows, len(rows), rows.memo) if ranks.first else None
    fingerprint = ranks.gather(own)[0]
    return Examples(lambda n: examples_of(rows[n], prompt), len(rows), rows.place, fingerprint)


@dataclass(slots=True)
class SftBatch:
    """The rows of an update; the first batch of a group also counts what the group skipped."""

    rows: list[TrainRow]
    overlong: int = 0
    unusable: Counter[str] = field(default_factory=Counter)
    """Number of skipped conversations, by reason."""


class NoExamplesError(TaskError):
    """There are fewer usable conversations than batches."""

    def __init__(self, message: str, skipped: SftBatch) -> None:
        """Keep what was skipped."""
        super().__init__(message)
        self.skipped = skipped


class Batches:
    """The batches of a run: a function of the seed and the step, so that resuming needs no state.

    Each pass over the data has its own random order and is spread evenly over batches of at most
    `batch_size`. Groups of up to `group_batches` batches are sorted by length, cut, and shuffled,
    so that conversations of similar length share a batch and little padding is computed. A pass
    over data that are generated without end is one group.
    """

    def __init__(
        self, recipe: SftRecipe, encoder: Encoder, sampling: Sampling, data: Examples
    ) -> None:
        """Bind to the data."""
        self._recipe, self._encoder, self._sampling, self._data = recipe, encoder, sampling, data
        self._count = data.count or recipe.group_batches * recipe.batch_size
        self._batches = recipe.batches(self._count)
        groups = -(-self._batches // recipe.group_batches)
        self._edges = [self._batches * i // groups for i in range(groups + 1)]
        self._group = lru_cache(maxsize=1)(self._make_group)

    def batch(self, step: int) -> SftBatch:
        """The batch of an update, counted from 0.

        Raises:
            NoExamplesError: there are fewer usable conversations than batches.
        """
        epoch, place = divmod(step, self._batches)
        group = bisect_right(self._edges, place) - 1
        return self._group(epoch, group)[place - self._edges[group]]

    def _make_group(self, epoch: int, group: int) -> list[SftBatch]:
        """Read, sort, cut and shuffle the conversations of a group of batches."""
        numbers = self._numbers(epoch, group)
        count = self._edges[group + 1] - self._edges[group]
        skipped, examples = SftBatch([]), dict[str, str]()
        usable: list[tuple[int, list[TrainRow]]] = []
        for number in numbers:
            place = self._data.place(number)
            try:
                rows = [self._row(example, place) for example in self._data.make(number)]
                short = [row for row in rows if self._fits(row)]
                longest = max((self._length(row) for row in short), default=0)
            except Exception as error:  # untrusted data: a row may raise anything
                reason = reason_of(error)
                examples.setdefault(reason, place)
                skipped.unusable[reason] += 1
                continue
            skipped.overlong += len(rows) - len(short)
            if short:
                usable.append((longest, short))
        if len(usable) < count:
            others = "; ".join(
                f"{n} x {why}{f' ({examples[why]})' * bool(examples[why])}"
                for why, n in list(skipped.unusable.items())[:REASONS]
            )
            raise NoExamplesError(
                f"{len(usable)} of {len(numbers)} conversations of "
                f"{', '.join(self._recipe.dataset)} can be used: {skipped.overlong} examples are "
                f"longer than cutoff {self._recipe.cutoff}; {others or 'no others were skipped'}",
                skipped,
            )
        for reason, n in skipped.unusable.items():
            where = f" (first: {examples[reason]})" if examples[reason] else ""
            log.warning("skipped %d conversations: %s%s", n, reason, where)
        if count > 1:
            usable.sort(key=itemgetter(0))
        edges = [len(usable) * i // count for i in range(count + 1)]
        parts = [usable[a:b] for a, b in pairwise(edges)]
        pass_group = epoch * (len(self._edges) - 1) + group
        random.Random(f"vsr1-sft|{self._recipe.seed}|{pass_group}").shuffle(parts)
        batches = [SftBatch([row for _, rows in part for row in rows]) for part in parts]
        batches[0].overlong, batches[0].unusable = skipped.overlong, skipped.unusable
        return batches

    def _numbers(self, epoch: int, group: int) -> Sequence[int]:
        """The conversations of a group of batches."""
        n, edges = self._count, self._edges[group : group + 2]
        first, last = (n * edge // self._batches for edge in edges)
        if not self._data.count:
            return range(epoch * n + first, epoch * n + last)
        return order_of(self._recipe.seed, epoch, n)[first:last]

    def _row(self, example: Example, place: str) -> TrainRow:
        if example.images and not self._encoder.renderer.sees:
            raise TaskError("it has images, and the model reads text only")
        if "language" in self._recipe.freeze and not example.images:
            raise TaskError("nothing is learnt without an image: the language model is frozen")
        self._encoder.renderer.refuse_reserved([example.reply])
        tokens = self._encoder.tokenizer(example.reply, add_special_tokens=False)["input_ids"]
        request = Request("", example.messages, self._sampling, example.images, place)
        return TrainRow(request, (*tokens, end_of_turn(self._encoder)), ())

    def _fits(self, row: TrainRow) -> bool:
        limit = self._recipe.cutoff - len(row.tokens)
        return limit > 0 and self._encoder.fits(row.request, limit)

    def _length(self, row: TrainRow) -> int:
        return self._encoder.estimate(row.request) + len(row.tokens)


@lru_cache(maxsize=4)
def end_of_turn(encoder: Encoder) -> int:
    """The token that the chat template puts after an assistant's turn, or the end of text."""
    renderer, mark = encoder.renderer, "vsr1-reply"
    chat = [{"role": "user", "content": "-"}, {"role": "assistant", "content": mark}]
    text = renderer.processor.apply_chat_template(chat, tokenize=False)
    after = text.rpartition(mark)[2].lstrip()
    tokens = encoder.tokenizer(after, add_special_tokens=False)["input_ids"]
    return int(tokens[0] if tokens else encoder.tokenizer.eos_token_id)
