"""Which samples a run asks: chosen by id, or drawn at random in proportion to the groups."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import picture_runs
import pytest
from cli import here, plugins, script

from vsr1_bench.data.blind import open_variant
from vsr1_bench.data.dataset import DataOptions, open_data
from vsr1_bench.data.selection import SelectedData, drawn_order, read_ids, selected_again
from vsr1_bench.errors import UsageError
from vsr1_bench.pipeline.flags import RunFlags
from vsr1_bench.publish.gold_answers import matching_data
from vsr1_bench.registry import get_task
from vsr1_bench.store.run_folder import RunFolder, find_runs

SIZES = {"a": 200, "b": 90, "c": 10}
SAMPLES = {
    place: (f"s{place}", {"kind": kind, "image": f"i{place // 2}", "same": "x"})
    for place, kind in enumerate(kind for kind, size in SIZES.items() for _ in range(size))
}


@pytest.mark.parametrize("seed", range(5))
def test_every_prefix_has_the_groups_in_proportion(seed: int) -> None:
    order, by = drawn_order(SAMPLES, seed)
    assert by == ["kind"]  # no image is a category, and `same` tells nothing apart
    assert sorted(order) == list(SAMPLES)
    for count in range(1, 301):
        kinds = Counter(SAMPLES[place][1]["kind"] for place in order[:count])
        for kind, size in SIZES.items():
            assert abs(kinds[kind] - count * size / 300) < 2
    shuffled = dict(reversed(SAMPLES.items()))
    assert drawn_order(shuffled, seed) == (order, by)  # the order of the data does not matter


def test_each_sample_is_as_likely_as_any_other() -> None:
    few = {place: SAMPLES[place] for place in (*range(12), *range(200, 205), 290)}
    drawn = Counter(place for seed in range(2000) for place in drawn_order(few, seed)[0][:6])
    # 6 of 18, 2,000 times: 667 on average, standard deviation 21.
    assert all(abs(drawn[place] - 667) < 5 * 21 for place in few)


def test_ids_are_read_from_a_file_or_a_list(tmp_path: Path) -> None:
    file = tmp_path / "ids.txt"
    file.write_text("a, with a comma\n\n b \na, with a comma\n")
    assert read_ids(str(file)) == ("a, with a comma", "b")
    assert read_ids("a,b, a") == ("a", "b")
    assert RunFlags.of({"model": "m", "tasks": "t", "samples": ["a", "b"]}).samples == ("a", "b")
    file.write_bytes(b"\xff")
    for text in (str(file), ","):
        with pytest.raises(UsageError, match="--samples"):
            read_ids(text)


class Asking:
    """Runs `adding` (400 sums, q000 to q399) with a script that knows all answers."""

    def __init__(self, folder: Path) -> None:
        self.runs = folder / "runs"
        lines = [{"id": f"q{n:03d}", "response": f"\\boxed{{{2 * n}}}"} for n in range(400)]
        self.flags = [
            *("--model", "sums", "--backend", "scripted", "--include_path", plugins(folder)),
            *("--model_args", f"script={script(folder / 'script.jsonl', *lines)}"),
            *("--output_path", self.runs),
        ]

    def run(self, *flags: object) -> str:
        done = here(*self.flags, "--tasks", "adding", *flags)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def ids(self, run: RunFolder) -> list[str]:
        return [sample.id for _, sample in sorted(run.placed_samples().items())]


@pytest.fixture
def asking(tmp_path: Path) -> Asking:
    return Asking(tmp_path)


def test_a_larger_limit_continues_a_draw(asking: Asking) -> None:
    asking.run("--limit", 5, "--sample_seed", 3)
    (run,) = find_runs(asking.runs)
    first = asking.ids(run)
    assert first != sorted(first)
    assert "5 of 12 responses" in asking.run("--limit", 12, "--sample_seed", 3)
    (run,) = find_runs(asking.runs)
    assert asking.ids(run)[:5] == first and len(run.generations()) == 12
    # Another seed, and the first samples, are other runs.
    asking.run("--limit", 5, "--sample_seed", 4)
    asking.run("--limit", 5)
    assert len(find_runs(asking.runs)) == 3
    table = here("table", asking.runs, "--include_path", asking.flags[5]).stdout
    for note in ("12 samples drawn with seed 3", "5 samples drawn with seed 4", "first 5 samples"):
        assert f"partial: {note}" in table.replace("the first", "first")
    assert "sample_seed=3" in table and "sample_seed=4" in table and "sample_ids" not in table
    told = here("table", "--explain_diff", *(run.path for run in find_runs(asking.runs)[:2]))
    assert "selection.sample_seed" in told.stdout


def test_shards_of_a_draw(asking: Asking) -> None:
    for shard in ("0/2", "1/2"):
        asking.run("--limit", 7, "--sample_seed", 3, "--shard", shard)
    (run,) = find_runs(asking.runs)
    assert len(run.generations()) == 7 == len(set(asking.ids(run)))


def test_chosen_ids(asking: Asking, tmp_path: Path) -> None:
    asking.run("--samples", "q300,q007")
    (run,) = find_runs(asking.runs)
    assert asking.ids(run) == ["q007", "q300"]
    file = tmp_path / "ids.txt"
    file.write_text("q007\nq300\n")
    assert "2 of 2 responses" in asking.run("--samples", file)  # the same run
    table = here("table", asking.runs, "--include_path", asking.flags[5]).stdout
    assert "partial: 2 samples chosen by their ids" in table
    # What reads the data again finds the same samples.
    data = matching_data(run, DataOptions(), [str(asking.flags[5])])
    assert [(place, one.id) for place, one in data.samples(2)] == [(0, "q007"), (1, "q300")]


def test_a_draw_is_found_again(asking: Asking) -> None:
    asking.run("--limit", 4, "--sample_seed", 9)
    (run,) = find_runs(asking.runs)
    data = open_data(get_task("adding", [str(asking.flags[5])]), DataOptions())
    again = [one.id for one in selected_again(data, run).samples(4)]
    assert again == asking.ids(run)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--samples", "q007,q4000"], "adding has no sample 'q4000' (nor is there such a file"),
        (["--samples", "q4,q5,q6,q7,q8"], "no sample 'q4', 'q5', 'q6' and 2 more"),
        (["--sample_seed", "1"], "give --limit"),
        (["--sample_seed", "1", "--limit", "2", "--samples", "q007"], "drop --samples"),
        (["--limit", "0.1"], "--limit 0.1: wanted a number of samples; 0.1 would be 40 of adding"),
    ],
)
def test_what_is_wrong_is_one_line(asking: Asking, flags: list[str], said: str) -> None:
    done = here(*asking.flags, "--tasks", "adding", *flags)
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1
    assert not asking.runs.exists()


def test_a_share_is_refused_in_a_notebook_and_a_loop() -> None:
    with pytest.raises(UsageError, match=r"0\.25 would be 250 of demo, 375 of mmstar: --limit 250"):
        RunFlags.of({"model": "m", "tasks": "demo,mmstar", "limit": 0.25})
    done = here("loop", "tiny/vision_sr1", "--tasks", "demo", "--limit", "0.25")
    assert done.returncode == 2 and "0.25 would be 250 of demo" in done.stderr


def test_tasks_without_any_of_the_ids_are_skipped(asking: Asking) -> None:
    told = here(*asking.flags, "--tasks", "adding,demo", "--samples", "q001")
    assert len(find_runs(asking.runs)) == 1
    assert told.returncode == 0 and "demo has none of the samples" in told.stderr


def test_swapped_images_are_those_of_the_whole_data(tmp_path: Path) -> None:
    data = open_data(get_task("pictures", [str(picture_runs.plugins(tmp_path))]), DataOptions())
    whole = open_variant("swap", data, 0, progress=False)
    part = SelectedData(data, [31, 4])
    swap = open_variant("swap", part, 0, progress=False)
    for place, sample in part.placed_samples():
        assert swap(place, sample) == whole(part.place_in_whole(place), sample)
