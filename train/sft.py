"""Supervised fine-tuning: the cold start, on the engine, checkpoints and metrics of GRPO.

The loss is the mean negative log-likelihood, in nats a token, of the replies' tokens and of the
token that ends a turn; no token of a prompt has a share in it. A prompt is read by the model's own
chat template and processor, as in evaluation.
"""

from __future__ import annotations

import logging
import random
from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from vsr1_bench.data.dataset import fingerprint_of
from vsr1_bench.errors import TaskError
from vsr1_bench.generation.chat import ChatRenderer
from vsr1_bench.generation.models import ModelInfo, find_model
from vsr1_bench.pipeline.plan import make_sampling
from vsr1_bench.prompts.formats import get_format
from vsr1_bench.records import Request, Sampling

from .conversations import Example, examples_of, open_rows
from .core.encoding import Encoder, Row, dummy_rows, lockstep, order_of, reason_of
from .core.engine import TrainingEngine
from .core.logprobs import score_batch
from .core.metrics import StepMetrics
from .core.ranks import Ranks, TrainError, seed_all
from .core.session import Session, train_safely
from .sft_recipe import (
    GLANCES,
    MIXTURE,
    PRIOR_GLANCES,
    UNTRAINED,
    SftRecipe,
)

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

REASONS = 5
"""Reasons why conversations are left out that an error names."""
EARLY = 0.25
"""Part of the schedule that takes the mixture's early shares."""


def train(recipe: SftRecipe, *, accept_changed_data: bool = False) -> Session:
    """Train to the end of the schedule, from the newest checkpoint of `output_dir` if there is one.

    Returns:
        See `train_safely`; `steps` are the counted updates.

    Raises:
        UsageError, ModelError, TaskError, StoreError: before anything is trained.
        TrainError: afterwards; the last checkpoint is whole, the same command continues.
    """
    return train_safely(lambda stack: SftTrainer(recipe, stack, accept_changed_data))


class SftTrainer(Session):
    """Everything that a run holds."""

    label, shown, rate = "train sft", "loss", ("tokens_trained", "step")

    def __init__(
        self, recipe: SftRecipe, stack: ExitStack, accept_changed_data: bool = False
    ) -> None:
        """Start everything; what must be closed goes onto `stack`."""
        super().__init__(recipe, stack)
        self.accept_changed_data = accept_changed_data
        self.model = starting_model(recipe, self.ranks)
        self.encoder = Encoder(ChatRenderer(self.model), kept=recipe.batch_size)
        bounds = {n: v for n in ("min_pixels", "max_pixels") if (v := getattr(recipe, n))}
        self.sampling = make_sampling(bounds, self.model)
        data = open_examples(recipe, self.ranks)
        self.recipe = recipe.planned(data.count)
        self.batches = Batches(self.recipe, self.encoder, self.sampling, data)
        self.engine = TrainingEngine(self.recipe, self.model, self.encoder.renderer, self.ranks)
        # The engine's start reseeds every generator: ours are seeded after it.
        seed_all(recipe.seed + self.ranks.rank)
        self.dummies = dummy_rows(self.encoder, self.sampling)
        self.resume(self.recipe, self.recipe.steps, stack, rows=data.fingerprint)
        if self.progress.step < self.steps:
            self._batch(StepMetrics())  # data that cannot be used end here

    def step(self, metrics: StepMetrics) -> None:
        """One update on one batch."""
        recipe, ranks, step = self.recipe, self.ranks, self.progress.step
        batch = self._batch(metrics)
        if ranks.first:
            metrics.count("examples/overlong", batch.overlong)
            metrics.count("examples/unusable", sum(batch.unusable.values()))
        rows = self._readable(batch.rows[ranks.rank :: ranks.world], metrics)
        plan = lockstep(
            self.encoder, ranks, rows, recipe.microbatch_tokens, max(1, len(rows)), self.dummies
        )
        learnt = sum(ranks.gather(sum(len(row.tokens) for row in rows)))
        if not learnt:  # on every rank alike
            self.log(metrics, step + 1)
            raise TrainError(f"no example of step {step + 1} can be read; see the warnings above")
        metrics.add("lr", self.engine.engine.get_lr()[0], 1)
        with metrics.phase("update"):
            told = self.engine.update(
                plan, lambda micro: self.loss(micro, learnt, metrics), step + 1
            )
        self.progress.step += 1
        self.progress.cursor += recipe.batch_size
        for name, value in told.items():
            metrics.add(name, value, 1)
        metrics.count("tokens_learnt", float(learnt if ranks.first else 0))

    def _batch(self, metrics: StepMetrics) -> SftBatch:
        """The batch of the next update; where there is none, what was left out is still logged."""
        try:
            return self.batches.batch(self.progress.step)
        except NoExamplesError as error:
            if self.ranks.first:
                metrics.count("examples/overlong", error.tally.overlong)
                metrics.count("examples/unusable", sum(error.tally.unusable.values()))
            self.log(metrics, self.progress.step + 1)
            raise

    def _readable(self, rows: Sequence[Row], metrics: StepMetrics) -> list[Row]:
        """Encode this rank's prompts; what the processor refuses is left out and counted."""
        found = []
        for row in rows:
            try:
                row.prompt_tokens = int(self.encoder.encode(row.request)["input_ids"].shape[1])
            except Exception as error:  # untrusted data: sides of 200 to 1, a decoder's bug
                where, reason = row.request.sample_id, reason_of(error)
                log.warning("an example is left out: %s", f"{where}: {reason}" if where else reason)
                metrics.count("examples/unusable", 1)
                continue
            found.append(row)
        return found

    def loss(self, micro: Sequence[Row], learnt: int, metrics: StepMetrics) -> Tensor:
        """A micro-batch's share in the batch's loss, with its gradient.

        Args:
            micro: Its rows; a dummy of lockstep has no share.
            learnt: Tokens of the batch that are learnt, on all ranks.
            metrics: Told of the tokens that went through the model.
        """
        batch = self.encoder.collate(micro)
        metrics.count("tokens_trained", float(batch.inputs["attention_mask"].sum()))
        logprobs, _ = score_batch(self.engine.engine, batch, temperature=1.0, bans=False)  # (N,)
        share = 0.0 if micro[0] in self.dummies.values() else 1 / learnt
        return -logprobs.sum() * share


def starting_model(recipe: SftRecipe, ranks: Ranks) -> ModelInfo:
    """The model that training starts from; an untrained one is made in `output_dir` first."""

    def find() -> ModelInfo:
        if recipe.model != UNTRAINED:
            return find_model(recipe.model, backend="transformers", offline=recipe.offline)
        folder = recipe.output_dir / "untrained"
        if not folder.is_dir():
            make_untrained(folder, recipe.seed)
        return find_model(str(folder), backend="transformers")

    return ranks.in_turn(find)


def make_untrained(folder: Path, seed: int) -> None:
    """Write the embedded model with random weights; a folder of this name is whole."""
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
    """0 = without end."""
    place: Callable[[int], str] = lambda number: ""
    """Where a conversation is in its file."""
    fingerprint: str | None = None
    """Of all rows, as the evaluator takes it; None = they are made."""


def open_examples(recipe: SftRecipe, ranks: Ranks) -> Examples:
    """The conversations of a recipe.

    Raises:
        UsageError, TaskError: the data are not there, or cannot be read.
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
    asked, downloads = get_format(recipe.prompt), recipe.output_dir / "data"
    where = (recipe.dataset, recipe.image_folder, downloads)
    rows = ranks.in_turn(lambda: open_rows(*where, offline=recipe.offline or not ranks.first))
    if not len(rows):
        raise TaskError(f"dataset {', '.join(recipe.dataset)} holds no rows")
    # Hashed once: every rank has the same files.
    own = fingerprint_of(rows, len(rows), rows.memo) if ranks.first else None
    fingerprint = ranks.gather(own)[0]
    return Examples(lambda n: examples_of(rows[n], asked), len(rows), rows.place, fingerprint)


class NoExamplesError(TaskError):
    """Fewer usable conversations than batches."""

    def __init__(self, message: str, tally: SftBatch) -> None:
        """Keep what was left out."""
        super().__init__(message)
        self.tally = tally


@dataclass(slots=True)
class SftBatch:
    """The rows of an update; the first of a group has what the group had to leave out."""

    rows: list[Row]
    overlong: int = 0
    unusable: dict[str, int] = field(default_factory=dict)


class Batches:
    """The batches of a run: a function of the seed and the step, so that resuming needs no state.

    A pass over the data, in a separate random order, is spread evenly over batches of at most
    `batch_size`. Its groups of up to `group_batches` batches are sorted by length, cut, and
    shuffled: neighbours in length share a batch, because padding is paid for. Data that are made
    without end have passes of one group.
    """

    def __init__(
        self, recipe: SftRecipe, encoder: Encoder, sampling: Sampling, data: Examples
    ) -> None:
        """Bind to the data."""
        self._recipe, self._encoder, self._sampling = recipe, encoder, sampling
        self._data, self._endless = data, not data.count
        self._count = data.count or recipe.group_batches * recipe.batch_size
        self._batches = recipe.batches(self._count)
        groups = -(-self._batches // recipe.group_batches)
        self._edges = [self._batches * i // groups for i in range(groups + 1)]
        self._group = lru_cache(maxsize=1)(self._cut)

    def batch(self, step: int) -> SftBatch:
        """The batch of an update, from 0.

        Raises:
            NoExamplesError: fewer usable conversations than batches.
        """
        epoch, place = divmod(step, self._batches)
        group = bisect_right(self._edges, place) - 1
        return self._group(epoch, group)[place - self._edges[group]]

    def _cut(self, epoch: int, group: int) -> list[SftBatch]:
        recipe, numbers = self._recipe, self._numbers(epoch, group)
        batches = self._edges[group + 1] - self._edges[group]
        tally, first = SftBatch([]), dict[str, str]()
        found: list[tuple[int, list[Row]]] = []
        for number in numbers:
            place = self._data.place(number)
            try:
                rows = [self._row(example, place) for example in self._data.make(number)]
                short = [row for row in rows if self._fits(row)]
                longest = max((self._length(row) for row in short), default=0)
            except Exception as error:  # untrusted data: this row's fault, whatever it is
                reason = reason_of(error)
                first.setdefault(reason, place)
                tally.unusable[reason] = tally.unusable.get(reason, 0) + 1
                continue
            tally.overlong += len(rows) - len(short)
            if short:
                found.append((longest, short))
        if len(found) < batches:
            others = "; ".join(
                f"{count} x {why}{f' ({first[why]})' * bool(first[why])}"
                for why, count in list(tally.unusable.items())[:REASONS]
            )
            raise NoExamplesError(
                f"{len(found)} of {len(numbers)} conversations of {', '.join(recipe.dataset)} "
                f"can be used: {tally.overlong} examples are over cutoff {recipe.cutoff}; "
                f"{others or 'no others left out'}",
                tally,
            )
        for reason, count in tally.unusable.items():
            where = f" (first: {first[reason]})" if first[reason] else ""
            log.warning("%d conversations left out: %s%s", count, reason, where)
        if batches > 1:
            found.sort(key=itemgetter(0))
        edges = [len(found) * i // batches for i in range(batches + 1)]
        parts = [found[a:b] for a, b in pairwise(edges)]
        pass_group = epoch * (len(self._edges) - 1) + group
        random.Random(f"vsr1-sft|{recipe.seed}|{pass_group}").shuffle(parts)
        made = [SftBatch([row for _, rows in part for row in rows]) for part in parts]
        made[0].overlong, made[0].unusable = tally.overlong, tally.unusable
        return made

    def _numbers(self, epoch: int, group: int) -> Sequence[int]:
        """The conversations of a group of batches."""
        n, edges = self._count, self._edges[group : group + 2]
        first, last = (n * edge // self._batches for edge in edges)
        if self._endless:
            return range(epoch * n + first, epoch * n + last)
        return order_of(self._recipe.seed, epoch, n)[first:last]

    def _row(self, example: Example, place: str) -> Row:
        if example.images and not self._encoder.renderer.sees:
            raise TaskError("it has images and the model reads text only")
        if "language" in self._recipe.freeze and not example.images:
            raise TaskError("without an image nothing is learnt: the language model is frozen")
        self._encoder.renderer.refuse_reserved([example.reply])
        tokens = self._encoder.tokenizer(example.reply, add_special_tokens=False)["input_ids"]
        request = Request("", example.messages, self._sampling, example.images, place)
        return Row(request, (*tokens, end_of_turn(self._encoder)), ())

    def _fits(self, row: Row) -> bool:
        left = self._recipe.cutoff - len(row.tokens)
        return left > 0 and self._encoder.fits(row.request, left)

    def _length(self, row: Row) -> int:
        return self._encoder.estimate(row.request) + len(row.tokens)


@lru_cache(maxsize=4)
def end_of_turn(encoder: Encoder) -> int:
    """The token that the chat template puts behind an assistant's turn; else the end of text."""
    renderer, mark = encoder.renderer, "vsr1-reply"
    chat = [{"role": "user", "content": "-"}, {"role": "assistant", "content": mark}]
    text = renderer.processor.apply_chat_template(chat, tokenize=False)
    behind = text.rpartition(mark)[2].lstrip()
    tokens = encoder.tokenizer(behind, add_special_tokens=False)["input_ids"]
    return int(tokens[0] if tokens else encoder.tokenizer.eos_token_id)
