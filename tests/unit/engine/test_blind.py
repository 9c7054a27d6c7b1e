"""Blind runs: what each variant shows, who is paired with whom, and the gain over them."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from picture_runs import answer, options, plugins, run_and_score

from vsr1_bench.data.blind import (
    GUESS,
    NO_IMAGE,
    NO_PARTNER,
    NoiseImage,
    Swap,
    components,
    derangement,
    drop,
    guess,
    noise,
    open_variant,
    parse_variants,
)
from vsr1_bench.data.dataset import DataOptions, TaskData, open_data
from vsr1_bench.errors import UsageError
from vsr1_bench.generation.images import decode
from vsr1_bench.leaderboard.shortcuts import fold_blind
from vsr1_bench.pipeline.run import generate
from vsr1_bench.prompts.formats import build_messages, get_format, reading_messages
from vsr1_bench.records import EncodedImage, ImagePlace, Sample
from vsr1_bench.registry import get_task
from vsr1_bench.scoring.paired import paired_difference
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.task import Procedural, Task, interleave
from vsr1_bench.tiny.png import palette_png

labelled = st.dictionaries(st.integers(0, 200), st.integers(0, 12), max_size=60)


@given(labelled, st.integers(0, 5))
def test_a_derangement_pairs_nobody_with_his_own(labels: dict[int, int], seed: int) -> None:
    pairs = derangement(labels, seed)
    assert all(labels[a] != labels[b] for a, b in pairs.items())
    assert sorted(pairs) == sorted(pairs.values())
    # As many as can be are paired: only what one label has beyond all others stays alone.
    counts = Counter(labels.values())
    most = max(counts.values(), default=0)
    assert len(labels) - len(pairs) == max(0, 2 * most - len(labels))
    left = {labels[place] for place in labels if place not in pairs}
    assert len(left) <= 1
    assert derangement(dict(reversed(labels.items())), seed) == pairs


def test_a_derangement_is_drawn_by_its_seed() -> None:
    labels = {n: n for n in range(50)}
    first, again, other = (derangement(labels, seed) for seed in (0, 0, 1))
    assert first == again != other
    assert first != {n: (n + 1) % 50 for n in range(50)}


def test_samples_that_share_an_image_belong_together() -> None:
    found = components({0: ["a", "b"], 1: ["c", "d"], 2: ["b", "e"], 3: ["e", "f"], 4: ["c", "c"]})
    assert found[0] == found[2] == found[3] != found[1] == found[4]


def pictures(tmp_path: Path, task: str = "pictures") -> TaskData:
    return open_data(get_task(task, (str(plugins(tmp_path)),)), DataOptions())


def test_swap_shows_another_image_and_each_image_set_once(tmp_path: Path) -> None:
    data = pictures(tmp_path)
    swap = Swap(data, 0, progress=False)
    own = dict(data.placed_samples())
    shown = {place: swap(place, sample) for place, sample in own.items()}
    swapped = {p: s for p, s in shown.items() if isinstance(s, Sample)}
    assert len(swapped) == 40
    for place, sample in swapped.items():
        assert sample.images[0].sha256() != own[place].images[0].sha256()
        assert (sample.question, sample.answer) == (own[place].question, own[place].answer)
    hashes = [[s.images[0].sha256() for s in of.values()] for of in (own, swapped)]
    assert Counter(hashes[0]) == Counter(hashes[1])
    assert hashes[0].count(hashes[0][0]) == 14  # every third image is the same


def test_swap_knows_nothing_of_limits_and_shards(tmp_path: Path) -> None:
    data = pictures(tmp_path)
    whole, part = Swap(data, 0, progress=False), Swap(data, 0, progress=False)
    own = dict(data.placed_samples())
    late = part(33, own[33])
    assert isinstance(late, Sample)
    whole(0, own[0])
    assert whole(33, own[33]) == late


def _task(images: list[tuple[bytes, ...]]) -> Task:
    def to_sample(row: Any) -> Sample:
        shown = tuple(EncodedImage(data=data) for data in images[row["n"]])
        places = tuple(ImagePlace(n) for n in range(len(shown)))
        return Sample(f"s{row['n']}", ("q", *places), "1", "number", images=shown)

    rows = Procedural(lambda n: {"n": n}, len(images), "v")
    return Task("several", 1, rows, to_sample, "number", "Apache-2.0", "for tests")


sets = st.lists(st.lists(st.sampled_from([b"a", b"b", b"c", b"d", b"e", b"f"]), max_size=3))


@given(sets.map(lambda rows: [tuple(row) for row in rows]), st.integers(0, 3))
def test_swapped_sets_share_no_image_and_have_as_many(
    images: list[tuple[bytes, ...]], seed: int
) -> None:
    data = open_data(_task(images), DataOptions())
    swap = Swap(data, seed, progress=False)
    for place, sample in data.placed_samples():
        shown = swap(place, sample)
        if not images[place]:
            assert shown == NO_IMAGE
        elif isinstance(shown, str):
            assert shown == NO_PARTNER
        else:
            assert len(shown.images) == len(sample.images)
            assert not {i.data for i in shown.images} & {i.data for i in sample.images}


def test_drop_leaves_the_text_as_the_blind_reader_has_it(tmp_path: Path) -> None:
    sample = Sample(
        "s", ("In ", ImagePlace(0), " see?"), "A", "choice", images=(EncodedImage(data=b"x"),),
        choices=("<image 1>", "none"), choice_parts=((ImagePlace(0),), ("none",)),
    )  # fmt: skip
    blind = drop(0, sample)
    assert isinstance(blind, Sample)
    assert blind.question == ("In ", " see?") and blind.images == ()
    assert blind.choices == sample.choices and blind.choice_parts is None
    assert drop(0, blind) == NO_IMAGE


def test_guess_is_drop_after_one_sentence_that_says_so(tmp_path: Path) -> None:
    sample = Sample(
        "s", ("In ", ImagePlace(0), " see?"), "A", "choice", images=(EncodedImage(data=b"x"),),
        choices=("<image 1>", "none"), choice_parts=((ImagePlace(0),), ("none",)),
    )  # fmt: skip
    told, silent = guess(0, sample), drop(0, sample)
    assert isinstance(told, Sample) and isinstance(silent, Sample)
    assert told == replace(silent, question=(GUESS, *silent.question))
    (message,) = build_messages(told, get_format("direct"))
    assert str(message.content[0]).startswith(f"{GUESS}In  see?\nA. ")
    assert guess(0, silent) == NO_IMAGE
    # A stored run is known by its variant's name only: other words would be mixed with these.
    assert GUESS == "The image of this question is withheld. Answer nevertheless: guess.\n"


def test_the_model_is_asked_what_guess_says(tmp_path: Path) -> None:
    runs = generate(options(tmp_path, _lines(), 3, perception=None, blind=("drop", "guess")))
    stored = {run.spec.variant: run.folder for run in runs}
    assert stored.keys() == {"none", "drop", "guess"}
    asked = {variant: _questions(folder) for variant, folder in stored.items()}
    assert asked["drop"] == ["In  count 0.", "In  count 1.", "In  count 2."]
    assert asked["guess"] == [f"{GUESS}{question}" for question in asked["drop"]]
    assert stored["guess"].path != stored["drop"].path


def _questions(folder: RunFolder) -> list[str]:
    return ["".join(map(str, s.question)) for s in folder.placed_samples().values()]


def test_no_mark_is_left_of_an_image_that_had_several() -> None:
    picture = (EncodedImage(data=b"x"),)
    question, images = interleave("Hexagons <image1>, squares <image2>.\n<image3>", picture)
    sample = Sample("s", question, "1", "number", images=images)
    blind = drop(0, sample)
    assert isinstance(blind, Sample)
    assert blind.question == ("Hexagons ", ", squares .\n")
    (message,) = reading_messages(sample, "three scales")
    assert "<image" not in str(message.content[0])
    assert "Question: Hexagons , squares .\nYou" in str(message.content[0])
    # Without an image these are the question's own words.
    words = Sample("t", ("What does <image 1> mean in HTML?",), "1", "number")
    assert "<image 1>" in str(reading_messages(words, "d")[0].content[0])


def test_noise_has_the_size_and_nothing_else(tmp_path: Path) -> None:
    image = EncodedImage(data=palette_png(bytes(40 * 30), 40, [(9, 9, 9)]))
    sample = Sample("s", (ImagePlace(0), ImagePlace(1)), "1", "number", images=(image, image))
    blind, again, other = (noise(seed, 0, sample) for seed in (0, 0, 1))
    assert isinstance(blind, Sample) and isinstance(again, Sample) and isinstance(other, Sample)
    first, second = blind.images
    assert first.read() == again.images[0].read() and first.sha256() == again.images[0].sha256()
    assert len({i.sha256() for i in (first, second, other.images[0], image)}) == 4
    pixels = np.asarray(decode(first, 1, 10**6))
    assert pixels.shape == (30, 40, 3)
    assert 110 < pixels.mean() < 145 and pixels.std() > 60
    assert isinstance(first, NoiseImage) and first.data is None  # drawn when read, never held


def test_noise_in_the_place_of_a_broken_image_fails_as_it_does(tmp_path: Path) -> None:
    broken = EncodedImage(data=b"no image")
    blind = noise(0, 0, Sample("s", (ImagePlace(0),), "1", "number", images=(broken,)))
    assert isinstance(blind, Sample) and blind.images == (broken,)


def test_variants_are_parsed() -> None:
    assert parse_variants("drop, swap,drop") == ("drop", "swap")
    assert parse_variants(None) == ()
    with pytest.raises(UsageError, match="did you mean noise"):
        parse_variants("nose")
    sample = Sample("s", ("q",), "1", "number")
    data = open_data(_task([()]), DataOptions())
    assert open_variant("none", data, 0)(0, sample) is sample


RIGHT = [n in (0, 1, 2, 3, 4, 6) for n in range(10)]
BLIND = [n in (0, 5) for n in range(10)]


def _lines() -> list[dict[str, Any]]:
    return [answer(n, right=right) for n, right in enumerate(RIGHT)]


def _blind(folder: Path, variant: str, task: str = "pictures") -> dict[str, dict[str, Any]]:
    """Score a run whose blind twin answers as BLIND says."""
    generate(options(folder, _lines(), 10, perception=None, tasks=task))
    lines = [answer(n, right=right) for n, right in enumerate(BLIND)]
    return run_and_score(folder, lines, 10, perception=None, blind=(variant,), tasks=task)


@pytest.mark.parametrize("variant", ["drop", "guess", "noise", "swap"])
def test_the_gain_is_paired_and_its_interval_the_librarys(tmp_path: Path, variant: str) -> None:
    documents = _blind(tmp_path, variant)
    metrics = documents["none"]["metrics"]
    assert metrics["accuracy"]["value"] == 0.6
    assert metrics[f"blind_accuracy[{variant}]"]["value"] == 0.2
    wanted = paired_difference(np.array(BLIND, float), np.array(RIGHT, float))
    gain = metrics[f"gain[{variant}]"]
    assert gain["value"] == pytest.approx(0.4) and gain["n"] == 10
    assert (gain["low"], gain["high"]) == pytest.approx((wanted.low, wanted.high))
    assert documents[variant]["variant"] == variant
    assert "blind" not in documents[variant] and "gain[drop]" not in documents[variant]["metrics"]


def test_the_accuracies_differ_by_the_gain_where_a_response_has_no_verdict(tmp_path: Path) -> None:
    def lines(right: int) -> list[dict[str, Any]]:
        """Of four responses a sample the first few are right; one of p0's has failed."""
        found = [{**answer(n, right=i < right), "index": i} for n in range(3) for i in range(4)]
        return [{"id": "p0", "index": 3, "error": "no luck"}, *found[:3], *found[4:]]

    several = {"n": 4, "temperature": 1.0}
    generate(options(tmp_path, lines(3), 3, perception=None, gen_kwargs=several))
    more: dict[str, Any] = {"perception": None, "blind": ("drop",), "gen_kwargs": several}
    part = run_and_score(tmp_path, lines(1), 3, **more)["none"]["blind"]["drop"]
    assert part["gain"]["value"] == pytest.approx((2 / 3 + 0.5 + 0.5) / 3)
    assert part["accuracy"]["value"] == pytest.approx((1 + 0.75 + 0.75) / 3)
    assert part["accuracy"]["value"] - part["blind_accuracy"]["value"] == pytest.approx(
        part["gain"]["value"]
    )
    assert part["n"] == part["gain"]["n"] == part["blind_accuracy"]["n"] == 3


def test_the_gain_takes_clusters_together(tmp_path: Path) -> None:
    gain = _blind(tmp_path, "drop", "figures")["none"]["metrics"]["gain[drop]"]
    clusters = [n // 2 for n in range(10)]
    wanted = paired_difference(np.array(BLIND, float), np.array(RIGHT, float), clusters)
    assert (gain["low"], gain["high"]) == pytest.approx((wanted.low, wanted.high))


def test_text_alone_is_left_out_and_does_not_count_as_missing(tmp_path: Path) -> None:
    lines = [answer(n, right=n < 4) for n in range(8)]
    chosen = options(tmp_path, lines, 8, tasks="mixed", perception=None, blind=("drop", "swap"))
    runs = generate(chosen)
    assert [run.skipped for run in runs] == [{}, {NO_IMAGE: 4}, {NO_IMAGE: 4}]
    documents = run_and_score(
        tmp_path, lines, 8, tasks="mixed", perception=None, blind=("drop", "swap")
    )
    rates = documents["drop"]["rates"]
    assert (rates["scored"], rates["total"], rates["ranked"]) == (4, 4, True)
    part = documents["none"]["blind"]["drop"]
    assert (part["n"], part["left_out"]) == (4, {NO_IMAGE: 4})
    # Of the samples that both have: 2 of 4 right, though 4 of 8 are right in all.
    assert part["accuracy"]["value"] == 0.5 and part["gain"]["value"] == 0


@pytest.mark.parametrize(
    ("total", "ranked", "shown"), [(0, False, False), (4, True, False), (4, False, True)]
)
def test_which_blind_runs_have_rows_of_their_own(total: int, ranked: bool, shown: bool) -> None:
    """Only what must not be overlooked: badly scored ones; not those of text alone (no samples)."""
    rates = {"total": total, "ranked": ranked}
    blind = {"spec_hash": "b", "judge": "j", "rates": rates}
    run = {"spec_hash": "a", "judge": "j", "rates": rates, "blind": {"drop": {"spec_hash": "b"}}}
    assert (blind in fold_blind([blind, run])) is shown


def test_a_blind_run_stores_the_images_it_showed(tmp_path: Path) -> None:
    runs = generate(options(tmp_path, _lines(), 10, perception="self", blind=("swap", "drop")))
    stored = {run.spec.variant: _images(run.folder) for run in runs}
    assert all(len(stored[variant]) == 10 for variant in stored)
    assert all(images == [] for images in stored["drop"].values())
    for name, images in stored["none"].items():
        assert stored["swap"][name] != images
    data = dict(pictures(tmp_path).placed_samples())
    raw = hashlib.sha256(data[4].images[0].read()).hexdigest()
    assert stored["none"]["p4"] == [raw]
    # Descriptions of nothing are not read.
    assert [bool(run.folder.readers()) for run in runs] == [True, False, False]


def _images(folder: RunFolder) -> dict[str, list[str]]:
    from cli import records

    return {line["id"]: line["images"] for line in records(folder.path / "samples.jsonl")}


def test_blind_shards_show_what_one_run_shows(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (whole,) = generate(
        options(tmp_path / "whole", _lines(), 10, perception=None, blind=("swap",))
    )[1:]
    for shard in ((0, 2), (1, 2)):
        (run,) = generate(
            options(tmp_path, _lines(), 10, perception=None, blind=("swap",), shard=shard)
        )[1:]
    assert run.folder.generations().keys() == whole.folder.generations().keys()
