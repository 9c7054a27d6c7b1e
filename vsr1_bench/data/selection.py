"""Which samples of a task a run asks: the first ones, those with given ids, or a random draw.

A draw is stratified by the task's groups. It is an order of all samples, of which `--limit` takes
the first ones: a larger limit continues the same run, and every prefix has the groups in
proportion.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from vsr1_bench._util.paths import user_path
from vsr1_bench.data.dataset import TaskData
from vsr1_bench.errors import RowError, TaskError, UsageError, nearest
from vsr1_bench.records import Sample
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.store.spec import SelectionSpec

MOST_VALUES = 64
"""A group with more values is no category (an image, a problem): draws are not stratified by it."""
FACT = "selection"
"""Key in run.json: `ids` in the order of their places, or `stratified_by`."""


class SelectedData(TaskData):
    """Some samples of a task, at places of their own from 0."""

    def __init__(self, whole: TaskData, places: Sequence[int]) -> None:
        """Bind to the places in the whole data, in the order in which they are asked."""
        super().__init__(whole.task, whole._rows, whole.spec, whole.to_sample, whole.own)
        self._whole, self._places = whole, places

    def __len__(self) -> int:
        """Number of samples."""
        return len(self._places)

    @property
    def whole(self) -> TaskData:
        """All samples of the task."""
        return self._whole

    def place_in_whole(self, place: int) -> int:
        """The place of a sample in the whole data."""
        return self._places[place]

    def sample(self, place: int) -> Sample:
        """The sample at a place of this selection."""
        return self._whole.sample(self._places[place])

    def placed_samples(
        self,
        limit: int | None = None,
        unusable: Callable[[range, TaskError], None] | None = None,
        passed_over: Sequence[int] = (),
        taken: Iterable[str] = (),
    ) -> Iterator[tuple[int, Sample]]:
        """Yield the first `limit` samples of the selection; see `TaskData.placed_samples`."""
        seen = set(taken)
        for place in range(len(self) if limit is None else min(limit, len(self))):
            if passed_over and passed_over[place]:
                continue
            try:
                sample = self.sample(place)
                if sample.id in seen:
                    raise RowError(f"id {sample.id!r} occurs twice; wanted unique ids")
            except TaskError as error:
                if unusable is None:
                    raise
                unusable(range(place, place + 1), error)
                continue
            seen.add(sample.id)
            yield place, sample


def read_ids(text: str) -> tuple[str, ...]:
    """Read `--samples`: a file with one id per line, or `a,b,c`.

    Raises:
        UsageError: the file cannot be read, or there is no id.
    """
    path = user_path(text)
    ids = text.split(",")
    try:
        if path.is_file():
            ids = path.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"--samples {text}: not readable: {error}") from None
    found = tuple(dict.fromkeys(one.strip() for one in ids if one.strip()))
    if not found:
        raise UsageError(f"--samples {text}: no id in it; wanted a file with one per line, or a,b")
    return found


def selection_spec(ids: Sequence[str], seed: int | None) -> SelectionSpec | None:
    """The selection as a part of the spec; None = the first samples."""
    if ids:
        digest = hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()
        return SelectionSpec(sample_ids=digest)
    return None if seed is None else SelectionSpec(sample_seed=seed)


def by_ids(data: TaskData, ids: Iterable[str]) -> tuple[TaskData, dict[str, Any]]:
    """The samples with these ids, in data order, and what run.json records of them.

    Ids that the task does not have are ignored.
    """
    wanted = set(ids)
    found = {sample.id: place for place, sample in _usable(data) if sample.id in wanted}
    return SelectedData(data, [*found.values()]), {"ids": [*found]}


def refuse_unknown_ids(ids: Sequence[str], parts: Sequence[tuple[TaskData, Iterable[str]]]) -> None:
    """Refuse ids that no task of a run has.

    Args:
        ids: What was asked for.
        parts: The whole data of each task, and the ids that were found in it.

    Raises:
        UsageError: names the first unknown ids and the nearest known ones.
    """
    found = {one for _, known in parts for one in known}
    unknown = [one for one in ids if one not in found]
    if not unknown:
        return
    known = list(dict.fromkeys(sample.id for data, _ in parts for _, sample in _usable(data)))
    tasks = ", ".join(data.task.name for data, _ in parts)
    more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
    close = nearest(unknown[0], known) if len(known) <= 10_000 else f"e.g. {known[0]}"
    close = close if len(close) <= 200 else f"e.g. {', '.join(known[:3])}"
    raise UsageError(
        f"--samples: {tasks} has no sample {', '.join(map(repr, unknown[:3]))}{more} (nor is there "
        f"such a file of ids); {close}"
    )


def by_draw(data: TaskData, seed: int) -> tuple[TaskData, dict[str, Any]]:
    """All samples in a random order, and what run.json records of it."""
    samples = {place: (sample.id, dict(sample.groups)) for place, sample in _usable(data)}
    order, strata = drawn_order(samples, seed, data.task.cluster)
    return SelectedData(data, order), {"stratified_by": strata}


def drawn_order(
    samples: Mapping[int, tuple[str, Mapping[str, str]]], seed: int, cluster: str | None = None
) -> tuple[list[int], list[str]]:
    """Order places at random, so that each prefix has the groups in proportion.

    Args:
        samples: Place -> id and groups.
        seed: Of the draw; the order depends on it, the ids and the groups only.
        cluster: A group that is not stratified by.

    Returns:
        The places, and the groups that they are stratified by.
    """
    values: dict[str, set[str]] = defaultdict(set)
    for _, groups in samples.values():
        for name, value in groups.items():
            values[name].add(value)
    by = [name for name in sorted(values) if name != cluster and len(values[name]) > 1]
    by = [name for name in by if len(values[name]) <= MOST_VALUES]
    strata: dict[tuple[str | None, ...], list[int]] = defaultdict(list)
    for place, (_, groups) in samples.items():
        strata[tuple(groups.get(name) for name in by)].append(place)
    keys: dict[int, tuple[float, float]] = {}
    for stratum, places in strata.items():
        luck = {place: _uniform(seed, "sample", samples[place][0]) for place in places}
        start = _uniform(seed, "stratum", repr(stratum))
        # A random start makes every sample as likely as any other in a prefix of any length.
        for rank, place in enumerate(sorted(places, key=lambda p: luck[p])):
            keys[place] = ((rank + start) / len(places), luck[place])
    return sorted(keys, key=lambda place: keys[place]), by


def _uniform(seed: int, kind: str, name: str) -> float:
    """A number in [0, 1), the same under every version of everything."""
    digest = hashlib.sha256(f"vsr1-draw:{seed}:{kind}:{name}".encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def selected_again(data: TaskData, run: RunFolder) -> TaskData:
    """The samples of a stored run among all of its task."""
    selection = run.spec().selection
    if selection is None:
        return data
    if selection.sample_seed is not None:
        return by_draw(data, selection.sample_seed)[0]
    return by_ids(data, run.meta().get(FACT, {}).get("ids", []))[0]


def _usable(data: TaskData) -> Iterator[tuple[int, Sample]]:
    return data.placed_samples(unusable=lambda places, error: None)
