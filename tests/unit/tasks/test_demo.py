"""The demo benchmark: its rows become samples, and listing it stays light."""

from __future__ import annotations

from cli import loaded

from vsr1_bench.records import EncodedImage, Sample
from vsr1_bench.task import Procedural
from vsr1_bench.tasks.demo import TASK
from vsr1_bench.tiny.scenes import FINGERPRINT, KINDS


def samples(source: Procedural, n: int) -> list[Sample]:
    rows = [dict(source.make(number)) for number in range(n)]
    return [TASK.to_sample({**r, "image": EncodedImage(data=r["image"])}) for r in rows]


def test_samples_are_complete_and_distinct() -> None:
    assert isinstance(TASK.source, Procedural)
    made = samples(TASK.source, TASK.source.n)
    assert len(made) == 1000
    assert len({sample.id for sample in made}) == 1000
    assert made[123].id == "test-000123"
    assert {sample.answer_type for sample in made} == {"number", "yes_no", "choice", "text"}
    assert {sample.groups["kind"] for sample in made} == set(KINDS)
    for sample in made:
        assert (sample.answer_type == "choice") == (sample.choices is not None)
        assert sample.answer
        assert sample.question_text


def test_training_rows_are_others() -> None:
    assert isinstance(TASK.source, Procedural)
    assert isinstance(TASK.train, Procedural)
    test, train = samples(TASK.source, 200), samples(TASK.train, 200)
    assert not {s.images[0].sha256() for s in test} & {s.images[0].sha256() for s in train}
    assert train[0].id.startswith("train-")


def test_the_fingerprint_is_the_generators() -> None:
    assert isinstance(TASK.source, Procedural)
    assert TASK.source.fingerprint == FINGERPRINT
    assert "image" in TASK.source.images


def test_listing_it_imports_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "PIL", "transformers", "datasets")
    assert loaded("import vsr1_bench.tasks.demo", *heavy) == ([], [])
