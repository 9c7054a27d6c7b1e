"""What an evaluation with `--perception` says of every demo sample, against the generator."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from stages import mark
from worlds.demo_hard import cells_right

from vsr1_bench.perception.reader import description_in
from vsr1_bench.scoring.join import join_readings
from vsr1_bench.scoring.seeing import readers_of
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.tiny.scenes import COLORS, EMPTY, make_question
from vsr1_bench.train.tiny_mixture import GLANCED

ENDPOINTS = {
    "cells": "cells that the description states as they are, of 16 in every sample",
    "accuracy": "right, of all samples",
    "all_cells": "samples with every cell right",
    "self_contained": "the model itself reads the gold answer off the description",
    "lsr": "right on a description that does not suffice",
    "leaks": "the description states the answer",
}
CELLS = {*COLORS, EMPTY, "row", *"1234:", *GLANCED.split()}
"""The words of descriptions as demonstrations have them."""


def flags_of(run: RunFolder, responses: Mapping[str, str]) -> dict[str, str]:
    """The endpoints of one run, by sample.

    1, 0, or `-` = does not count; of `cells` a letter: a = none of the 16 cells right, q = all.

    Args:
        run: Of a task whose test scenes are those of `demo`.
        responses: Sample id -> what the model said.
    """
    (verdicts,) = run.judged().values()
    flags: dict[str, str] = dict.fromkeys(ENDPOINTS, "")
    for seen in join_readings(run, verdicts, readers_of(run)[0]):
        question, _ = make_question("test", int(seen.sample_id.removeprefix("test-")))
        described = description_in(responses[seen.sample_id], "response") or ""
        share = cells_right(described, question.scene.describe())
        flags["cells"] += chr(ord("a") + round(16 * share))
        flags["accuracy"] += mark(seen.correct)
        flags["all_cells"] += mark(share == 1)
        flags["self_contained"] += mark(
            bool(seen.described and seen.sufficient) if seen.counted else None
        )
        flags["lsr"] += mark(seen.shortcut if seen.counted else None)
        flags["leaks"] += mark(bool(seen.leaks) if seen.counted else None)
    return flags


def beyond_cells(response: str) -> bool:
    """Whether a description says more than cells: a hint at the answer would have to."""
    words = set((description_in(response, "response") or "").split())
    return not words <= CELLS


def means(stored: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, float]]:
    """The mean of every endpoint of every run; NaN where no sample counts."""

    def value(character: str) -> float:
        if character.isalpha():
            return (ord(character) - ord("a")) / 16
        return np.nan if character == "-" else float(character)

    return {
        name: {e: float(np.nanmean([value(c) for c in text])) for e, text in one.items()}
        for name, one in stored.items()
    }
