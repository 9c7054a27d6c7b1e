"""A reward of the user's own: a function in one file, `reward = "my_reward.py:score"`.

It is called once per rollout, by keyword:

| argument | is |
|---|---|
| `text` | the response of the first pass |
| `description` | the description in it; None = there is none, or the response was truncated |
| `reading` | the response of the second pass; None = there was none |
| `verdicts` | the components that the objective would reward, by name (see `rewards`) |
| `sample` | the question with its gold answer (`vsr1_bench.records.Sample`) |

It returns numbers by name, always the same names, or None to exclude the rollout. The numbers take
the place of the objective's components: a scalar objective rewards their sum, `multi_advantage`
normalises each by itself. A rollout whose verdicts are unknown is excluded without a call. An
exception excludes its rollout, too; excluded rollouts are counted, and their reasons are kept.
"""

from __future__ import annotations

import importlib.util
import inspect
import math
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

from vsr1_bench.errors import UsageError, nearest
from vsr1_bench.records import Sample
from vsr1_bench.store.journal import write_atomic

from ..recipe import COMPONENTS, Recipe

ARGUMENTS = ("text", "description", "reading", "verdicts", "sample")
SCORED = Sample("recorded", ("How many dots are red?",), "2", "number")
"""The question of the recorded rollout, where there are no rows yet."""


class RewardError(Exception):
    """A rollout has no reward: the reason, in one line."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What the function is told about a rollout."""

    text: str
    description: str | None
    reading: str | None
    verdicts: Mapping[str, float | None]
    sample: Sample


class OwnReward:
    """The function that a recipe names."""

    def __init__(self, spec: str) -> None:
        """Import the file; it is executed, so name only files that you trust.

        Raises:
            UsageError: there is no such file or function, the file does not import, or the function
                does not take the arguments.
        """
        self.spec = spec
        file, _, name = spec.rpartition(":")
        self.path = Path(file)
        if not name.isidentifier() or not self.path.is_file():
            raise UsageError(
                f"reward {spec!r}: wanted FILE.py:FUNCTION with an existing file, e.g. "
                "reward=my_reward.py:score"
            )
        try:
            self.source = self.path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"reward {spec!r}: {self.path} cannot be read: {error}") from None
        self._score = self._load(name)
        self.names: tuple[str, ...] = ()
        """The components, once `check` has seen them."""

    def _load(self, name: str) -> Callable[..., Any]:
        place = importlib.util.spec_from_file_location(f"vsr1_reward_{self.path.stem}", self.path)
        if place is None or place.loader is None:
            raise UsageError(f"reward {self.spec!r}: {self.path} is not a Python file (*.py)")
        module = importlib.util.module_from_spec(place)
        try:
            place.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            raise UsageError(
                f"reward {self.spec!r}: {self.path} does not import: {self._reason(error)}"
            ) from error
        score = getattr(module, name, None)
        if not callable(score):
            known = tuple(n for n, value in vars(module).items() if inspect.isfunction(value))
            raise UsageError(
                f"reward {self.spec!r}: {self.path} has no function {name}; {nearest(name, known)}"
            )
        try:
            inspect.signature(score).bind(**dict.fromkeys(ARGUMENTS))
        except TypeError as error:
            raise UsageError(
                f"reward {self.spec!r}: {error}; it is called with {', '.join(ARGUMENTS)} by name"
            ) from None
        found: Callable[..., Any] = score
        return found

    def check(self, sample: Sample, recipe: Recipe) -> dict[str, float]:
        """Score the recorded rollout, which also tells the names of the components.

        Args:
            sample: Its question; the answer in the rollout is the gold one.
            recipe: Whether there is a second pass, and the weights of components.

        Raises:
            UsageError: the function fails on it or returns something else than named numbers, or
                the recipe has weights of other components.
        """
        try:
            found = self._called(recorded(sample, recipe.reads))
        except RewardError as error:
            raise UsageError(f"{error}, on a recorded rollout with a right answer") from error
        shaped = {"overlong"} if recipe.overlong_tokens else set()
        if shaped & found.keys():
            raise UsageError(f"reward {self.spec}: overlong is the name of overlong_tokens' own")
        unknown = recipe.component_weights.keys() - {*COMPONENTS, *found, *shaped}
        if unknown:
            raise UsageError(
                f"component_weights {sorted(unknown)}: {self.spec} returns {sorted(found)}"
            )
        self.names = tuple(found)
        return found

    def __call__(self, scored: Scored) -> dict[str, float]:
        """The components of a rollout.

        Raises:
            RewardError: the rollout is excluded.
        """
        found = self._called(scored)
        if set(found) != set(self.names):
            raise RewardError(
                f"reward {self.spec}: returned {sorted(found)}, at first {sorted(self.names)}"
            )
        return found

    def _called(self, scored: Scored) -> dict[str, float]:
        try:
            found = self._score(
                text=scored.text,
                description=scored.description,
                reading=scored.reading,
                verdicts=dict(scored.verdicts),
                sample=scored.sample,
            )
        except (Exception, SystemExit) as error:  # of a user: anything
            raise RewardError(f"reward {self.spec}: {self._reason(error)}") from error
        if found is None:
            raise RewardError(f"reward {self.spec}: returned None")
        if not isinstance(found, Mapping) or not found:
            kind = type(found).__name__
            raise RewardError(f"reward {self.spec}: returned {kind}; wanted numbers by name")
        for name, value in found.items():
            if not (isinstance(name, str) and isinstance(value, Real) and math.isfinite(value)):
                raise RewardError(
                    f"reward {self.spec}: returned {name!r}: {value!r}"[:200]
                    + "; wanted a finite number by name"
                )
        return {name: float(value) for name, value in found.items()}

    def _reason(self, error: BaseException) -> str:
        """An exception in one line, with the line of the file in which it was raised."""
        text = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")[:300]
        frames = traceback.extract_tb(error.__traceback__)
        lines = [f.lineno for f in frames if Path(f.filename) == self.path.absolute()]
        lines += [f.lineno for f in frames if Path(f.filename) == self.path]
        return f"{text} (line {lines[-1]})" if lines else text

    def keep(self, copy: Path, *, resumed: bool) -> None:
        """Keep a copy of the file with the run; a resumed run must have the same.

        Raises:
            UsageError: the file has changed since.
        """
        if resumed and copy.is_file() and copy.read_text("utf-8") != self.source:
            raise UsageError(
                f"reward {self.spec!r}: the file has changed since the checkpoint; restore it (a "
                f"copy is {copy}), or give another output_dir"
            )
        write_atomic(copy, self.source)


def recorded(sample: Sample, reads: bool) -> Scored:
    """A rollout as the tiny model writes it, with the gold answer in both passes."""
    description = "A grid of dots: the first row is red, blue; the second row is red, green."
    thinking = f"<think> I read the description and count. </think> \\boxed{{{sample.answer}}}"
    verdicts = {"accuracy": 1.0, "format": 1.0}
    if reads:
        verdicts |= {"description_accuracy": 1.0, "description_format": 1.0}
    return Scored(
        f"<description> {description} </description> {thinking}",
        description,
        thinking if reads else None,
        verdicts,
        sample,
    )
