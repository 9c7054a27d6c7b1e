"""Self-reward GRPO: the loop, top to bottom.

Deviations from the paper (Vision-SR1, arXiv:2508.19652) and from the code released with it:

1. Sampling is from the whole distribution (top-p 1; theirs 0.99), because log-probs renormalised
   over a nucleus are not the trainer's.
2. Vision tokens are never sampled: a sampled image placeholder has no image.
3. A truncated response earns nothing and gets no second pass. So does a response without a
   description (theirs passes the whole response to the reader, answer included). A missing box is
   wrong (theirs grades the text "None").
4. The format reward checks the response as it is; theirs first deletes white space around `<`, `>`
   and `/`. Ours takes `<thinking>` for `<think>`, and thinking that the chat template has opened
   for the reasoning. With Qwen3-VL theirs is always 0 (see `prompts.formats.THINK_QWEN3`).
5. Technical failures (engine, judge, endpoint) are excluded and counted; theirs score 0.
6. If a recipe does not set `reader`, the second pass is greedy if it only measures, and sampled if
   the gradient reaches it. The 2025 code samples it, the 2026 code decodes it greedily; the recipes
   of these names do the same, except for the nucleus of 0.99 (1).
7. Advantages are normalised by prompt group, as in their code; the paper says the batch. A group of
   equal rewards has advantages of exactly 0.
8. Truncated importance weights correct the engine's log-probs to the trainer's.
9. Every weight sync is checked on a probe batch; if the check fails, training stops.
10. `credit = "description"` (the visual reward on the description's own tokens) is ours. The visual
    advantage of a response without a description applies to the whole response. A token with two
    terms gets the KL once.
11. The loss is the mean over all tokens of a minibatch. The 2025 code takes the mean over each
    micro-batch of rows (8 in its 7B script), then over micro-batches, then over ranks, so that
    tokens of short micro-batches weigh more.
12. `filter_groups` uses the mean accuracy. The 2026 code uses `overall`, whose maximum is 2: with
    its bounds (0.01, 0.99) it drops a group that is half right in both passes. The 2025 code has no
    filter.
13. After the last try of filtering, the step uses the groups that were kept, fewer than requested.
    The 2026 code stops the training then, and as soon as one draw keeps no group.
14. With filtering, the 2026 code falls back to one advantage of `overall`; ours keeps one advantage
    per component.
15. The second pass's prompt is not truncated unless the recipe sets `reader_prompt_tokens`. The
    2026 code truncates it to 2,048 tokens, including the instruction and the assistant's turn, and
    sends the rest; the recipe `vision_sr1_2026` does the same.
"""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

from vsr1_bench.errors import UsageError
from vsr1_bench.generation.base import Generator
from vsr1_bench.generation.families import check_trainable
from vsr1_bench.generation.flags import PERCEPTION_FLAGS, ROLLOUT_FLAGS
from vsr1_bench.generation.models import find_model
from vsr1_bench.generation.open import choose_backend, open_generator, open_syncable
from vsr1_bench.judging.open import open_judge
from vsr1_bench.pipeline.plan import make_sampling
from vsr1_bench.pipeline.report import alike_reasons
from vsr1_bench.store.journal import Journal

from .core.encoding import Encoder, TrainRow
from .core.engine import TrainingEngine, banned_tokens
from .core.loading import attention_of
from .core.lockstep import dummy_rows
from .core.metrics import StepMetrics, forget_after
from .core.ranks import TrainError, seed_all
from .core.session import Session, train_safely
from .recipe import Recipe
from .rl.objectives import Moments, advantages_of, batch_moments, rows_of
from .rl.own_reward import OwnReward
from .rl.prompts import TrainingData, advise_on_tags
from .rl.rollouts import Rollout, collect, note_rollouts
from .rl.sync_check import CANDIDATES, SyncCheck
from .rl.updates import Updater
from .rl.validation import forget_validations, note_overlap, validate, validation_judges

if TYPE_CHECKING:
    from vsr1_bench.judge import JudgeRunner
    from vsr1_bench.records import Sample

log = logging.getLogger(__name__)

Group = list[Rollout]


def train(recipe: Recipe, *, accept_changed_data: bool = False) -> Session:
    """Train until `max_steps`, from the newest checkpoint of `output_dir` if it holds one.

    Returns:
        See `train_safely`.

    Raises:
        UsageError, ModelError, TaskError, StoreError: before anything is trained.
        TrainError: a NaN, a failed sync check, or failed responses; checkpoints are complete.
        GenerationError, JudgeError, DiskFullError: the same command continues.
    """
    return train_safely(lambda stack: Trainer(recipe, stack, accept_changed_data))


class Trainer(Session):
    """A GRPO run: both engines, data, judge, checkpoints and journals."""

    shown, rate = "reward/total", ("tokens", "generate", "read")
    moments: Moments | None = None
    """With `normalize_batch`: the moments of the current step's advantages."""

    def __init__(self, recipe: Recipe, stack: ExitStack, accept_changed_data: bool = False) -> None:
        """Start everything; `stack` closes what is opened."""
        super().__init__(recipe, stack)
        self.accept_changed_data = accept_changed_data
        self.recipe, self.label = recipe, f"train {recipe.objective}"
        self.ranks.on_all_ranks(self._check)
        backend = choose_backend(recipe.backend, None)
        self.model = self.ranks.rank0_first(
            lambda: check_trainable(
                find_model(
                    recipe.model, backend=backend, offline=recipe.offline, flags=ROLLOUT_FLAGS
                ),
                backend,
            )
        )
        banned = banned_tokens(self.model)
        engine_args = {"dtype": recipe.dtype} | recipe.engine_args
        if backend == "transformers":
            engine_args = {"attn_implementation": recipe.attention} | engine_args
        self.generator = stack.enter_context(
            open_syncable(
                backend, self.model, engine_args, banned=banned, sleep_level=recipe.sleep_level
            )
        )
        if recipe.masked_pass and not self.generator.renderer.sees:
            raise UsageError(
                f"masked_pass={recipe.masked_pass}: {recipe.model} reads text only, there is no "
                "image to mask; give masked_pass=none"
            )
        if self.ranks.first:
            advise_on_tags(recipe, self.generator.renderer)
        self.encoder = Encoder(self.generator.renderer)
        # The evaluator's pixel bounds, unless the recipe has some.
        names = ("temperature", "max_tokens", "min_pixels", "max_pixels")
        sampling = make_sampling({n: v for n in names if (v := getattr(recipe, n))}, self.model)
        self.data = self.ranks.rank0_first(lambda: TrainingData(recipe, self.encoder, sampling))
        candidates = self.data.draw(0, min(CANDIDATES, len(self.data.data))).requests
        self.ranks.on_all_ranks(lambda: self._check_reward(candidates[0][0]))
        self.sync_check = SyncCheck(self.generator, self.encoder, candidates, self.ranks)
        self.generator.sleep()  # until the first sync, so that the trainer has its memory
        self.engine = TrainingEngine(
            recipe, self.model, self.generator.renderer, self.ranks, banned
        )
        self.encoder.make_batches_for(self.engine.policy)
        self.sync_check.bind(self.engine, recipe.proof_bound)
        judge = open_judge(recipe.judge or self.data.task.judge)
        self.judge: JudgeRunner = stack.enter_context(judge)
        self.reader: Generator | None = None
        if recipe.objective == "external_perception":
            model = find_model(
                recipe.perception_model or "",
                backend="openai",
                base_url=recipe.perception_base_url,
                flags=PERCEPTION_FLAGS,
            )
            reader = open_generator("openai", model, recipe.perception_args)
            self.reader = stack.enter_context(reader)
        # After the engine has started, because it reseeds every random generator.
        seed_all(recipe.seed + self.ranks.rank)
        self.updater = Updater(
            recipe, self.engine, self.encoder, dummy_rows(self.encoder, sampling)
        )
        self.resume(recipe, recipe.max_steps, stack, rows=self.data.data.spec.fingerprint)
        if self.ranks.first:
            forget_validations(self.folder, self.progress.step)
        self.ranks.on_all_ranks(self._note_overlap)
        self.ranks.on_all_ranks(self._keep_reward)
        rollouts = self.folder / "rollouts" / f"rank-{self.ranks.rank}.jsonl"
        forget_after(rollouts, self.progress.step)
        self.journal = stack.enter_context(Journal(rollouts))

    def _check(self) -> None:
        """Refuse what no rank can train, before anything is loaded."""
        recipe, world = self.recipe, self.ranks.world
        if recipe.minibatch_prompts % world:
            raise UsageError(
                f"minibatch_prompts={recipe.minibatch_prompts} does not divide over {world} "
                "ranks; give a multiple"
            )
        attention_of(recipe)
        self.judges = validation_judges(recipe)
        self.own = OwnReward(recipe.reward) if recipe.reward else None

    def _check_reward(self, sample: Sample) -> None:
        """Refuse a reward of the user's own that cannot score a recorded rollout."""
        if self.own is not None:
            self.own.check(sample, self.recipe)

    def _note_overlap(self) -> None:
        """Log how many validation samples a new training would train on."""
        if self.ranks.first and self.progress.step == 0:
            note_overlap(self.recipe, self.data.data)

    def _keep_reward(self) -> None:
        """Keep the file of the user's own reward with the run."""
        if self.own is not None and self.ranks.first:
            self.own.keep(self.folder / "reward.py", resumed=self.progress.step > 0)

    def start(self) -> None:
        """Sync the current weights to the rollouts' engine; validate the first weights."""
        metrics = StepMetrics()
        stats = self._sync(metrics)
        log.info(
            "weight sync checked: log-probs of engine and trainer differ by %.2g nats on average, "
            "bound %.2g; %d groups of parameters are compared bit for bit",
            *(stats["proof/mismatch_mean"], stats["proof/bound"], len(self.sync_check.layers)),
        )
        if self.recipe.eval_every and self.progress.step == 0:
            self._validate(metrics)
            self.log(metrics)

    def step(self, metrics: StepMetrics) -> None:
        """One step: rollouts, rewards, advantages, updates, sync, sync check."""
        groups = self._rollouts(metrics)
        note_rollouts(metrics, groups)
        minibatches = self._minibatches(groups, metrics)
        step = self.progress.step + 1
        self.generator.sleep()
        self.updater.update(minibatches, metrics, step=step)
        self.progress.step = step
        self._sync(metrics)

    def finish_step(self, metrics: StepMetrics) -> None:
        """Validate if it is due, and flush the step's rollouts to disk."""
        recipe, step = self.recipe, self.progress.step
        if recipe.eval_every and (step == self.steps or step % recipe.eval_every == 0):
            self._validate(metrics)
        self.journal.sync()

    def _rollouts(self, metrics: StepMetrics) -> list[Group]:
        """Sample this rank's share of a step's groups; with `filter_groups`, until enough are kept.

        Everything is journalled before the update, so that a failed update can be examined. Rank r
        of w takes prompts r, r + w, … of the global draw. The minibatches therefore hold the same
        prompts with any number of ranks.
        """
        recipe, world = self.recipe, self.ranks.world
        share = recipe.prompts_per_step // world
        kept: list[Group] = []
        later: list[tuple[Group, bool]] = []
        self.moments = None
        failures: list[str | None] = []
        tries = recipe.filter_tries if recipe.filter_groups else 1
        for attempt in range(tries):
            drawn = self.data.draw(self.progress.cursor, recipe.prompts_per_step)
            self.progress.cursor = drawn.cursor
            if self.ranks.first:
                metrics.count("prompts/overlong", drawn.overlong)
                metrics.count("prompts/unusable", sum(drawn.unusable.values()))
            numbered = [(i, *prompt) for i, prompt in enumerate(drawn.requests)]
            collected = collect(
                self.generator,
                numbered[self.ranks.rank :: world],
                recipe,
                self.judge,
                step=self.progress.step * recipe.filter_tries + attempt,
                reader=self.reader,
                opened=self.generator.renderer.opened,
                own=self.own,
            )
            metrics.seconds("generate", collected.first_seconds)
            metrics.seconds("read", collected.second_seconds)
            metrics.seconds("judge", collected.judge_seconds)
            for group in collected.groups:
                useful = not recipe.filter_groups or in_reach(group, recipe)
                taken = useful and len(kept) < share
                if taken:
                    kept.append(group)
                if recipe.filter_groups:
                    metrics.add("filter/kept_share", useful, 1)
                # With `normalize_batch` the advantages depend on all draws of the step.
                if recipe.normalize_batch:
                    later.append((group, taken))
                else:
                    self._note(group, taken, metrics)
                failures += [rollout.failure for rollout in group]
            if min(self.ranks.gather(len(kept))) >= share:
                break
        self.moments = self._moments(kept)
        for group, taken in later:
            self._note(group, taken, metrics)
        self._check_failures(failures, metrics)
        return kept

    def _moments(self, groups: list[Group]) -> Moments | None:
        """The moments of the step's advantages, alike on all ranks; None without the key."""
        if not self.recipe.normalize_batch:
            return None
        own = [a for g in groups for a in advantages_of(g, self.recipe)[0] if a is not None]
        return batch_moments([a for rank in self.ranks.gather(own) for a in rank])

    def _note(self, group: Group, taken: bool, metrics: StepMetrics) -> None:
        """Journal a group with its advantages."""
        first, visual = advantages_of(group, self.recipe, self.moments)
        for place, rollout in enumerate(group):
            metrics.count("tokens", rollout.tokens)
            told = (first[place], visual[place] if visual else None)
            self.journal.append(
                rollout.journal(self.progress.step + 1, dropped=not taken, advantages=told)
            )

    def _check_failures(self, failures: list[str | None], metrics: StepMetrics) -> None:
        """Stop if too few responses can be used, alike on all ranks.

        Raises:
            TrainError: states how many responses of the step failed, and why.
        """
        everything = [failure for rank in self.ranks.gather(failures) for failure in rank]
        failed = [failure for failure in everything if failure is not None]
        most = self.recipe.max_excluded_share
        if len(failed) < len(everything) and len(failed) <= most * len(everything):
            return
        self.journal.sync()
        metrics.add("excluded_share", len(failed) / max(1, len(everything)), 1)
        self.log(metrics, self.progress.step + 1)
        # Reasons that differ only in the file of an image are one.
        counts = Counter(alike_reasons(Counter(failed)))
        reasons = [f"{count} x {why}" for why, count in counts.most_common(3)]
        raise TrainError(
            f"step {self.progress.step + 1}: {len(failed)} of {len(everything)} responses failed "
            f"({'; '.join(reasons)}), more than max_excluded_share={most} allows"
            if failed
            else f"step {self.progress.step + 1}: no responses"
        )

    def _minibatches(self, groups: list[Group], metrics: StepMetrics) -> list[list[TrainRow]]:
        """Turn groups into training rows, cut into minibatches."""
        recipe = self.recipe
        for group in groups:
            metrics.mean("zero_variance_share", [float(not any(_known(group, recipe, None)))])
            known = _known(group, recipe, self.moments)
            metrics.mean("advantage/abs", map(abs, known))
            if known:
                metrics.peak("advantage/max", max(known))
                metrics.peak("advantage/min_negated", -min(known))
        each = recipe.minibatch_prompts // self.ranks.world
        count = recipe.prompts_per_step // recipe.minibatch_prompts
        return [
            [
                row
                for group in groups[each * i : each * (i + 1)]
                for row in rows_of(group, recipe, self.encoder.tokenizer, self.moments)
            ]
            for i in range(count)
        ]

    def _sync(self, metrics: StepMetrics) -> dict[str, float]:
        """Copy the weights to the rollouts' engine, and check that they arrived."""
        with metrics.phase("sync"):
            self.ranks.on_all_ranks(self._send_weights)
        with metrics.phase("proof"):
            stats = self.sync_check.check(self.progress.step)
        for name, value in stats.items():
            metrics.peak(name, value)
        return stats

    def _send_weights(self) -> None:
        """Give the engine the weights; all ranks call.

        Raises:
            GenerationError: this rank's engine does not take them.
        """
        weights = self.engine.weights()
        try:
            self.generator.wake()
            self.generator.sync(self.sync_check.watch(weights))
        except Exception:
            for _ in weights:  # at ZeRO-3 the other ranks wait for this one in each gather
                pass
            raise

    def _validate(self, metrics: StepMetrics) -> None:
        progress = self.progress
        with metrics.phase("validate"):
            scores = validate(
                self.recipe, self.model, self.generator, self.ranks, progress.step, self.judges
            )
        for name, value in scores.items():
            metrics.peak(name, value)
        mean = scores.get("validation/mean")
        if mean is None or not progress.step:  # the first weights are not a checkpoint
            return
        if progress.best_score is None or mean > progress.best_score:
            progress.best_score, progress.best_step = mean, progress.step


def _known(group: Group, recipe: Recipe, batch: Moments | None) -> list[float]:
    """All advantages of a group."""
    both = advantages_of(group, recipe, batch)
    return [a for advantages in both for a in advantages or () if a is not None]


def in_reach(group: Group, recipe: Recipe) -> bool:
    """Whether a group's mean accuracy is between the bounds of `filter_groups`."""
    known = [a for r in group if (a := r.verdicts["accuracy"]) is not None]
    return bool(known) and recipe.filter_low < sum(known) / len(known) < recipe.filter_high
