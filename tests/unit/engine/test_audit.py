"""`audit`: planted faults are found, sound rows are not accused, and pages are safe to open."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from cli import here
from PIL import Image as Pil
from tree import ROOT

from vsr1_bench.audit.audit import AuditOptions, audit_task, write_audit
from vsr1_bench.audit.duplicates import find_repeats, near_texts
from vsr1_bench.audit.items import Item, Items, image_digests, item_of, read_items
from vsr1_bench.audit.overlap import training_side
from vsr1_bench.audit.page import Page, Section, Table, html_page, markdown_page
from vsr1_bench.audit.priors import distributions, priors
from vsr1_bench.audit.sections import forest_part
from vsr1_bench.data.dataset import DataOptions, open_data
from vsr1_bench.errors import RowError, TaskError, UsageError
from vsr1_bench.records import EncodedImage, Sample
from vsr1_bench.registry import get_task
from vsr1_bench.task import Procedural, Row, Task
from vsr1_bench.tiny.scenes import Split, to_sample

HOSTILE = "<script>alert(1)</script> | [x](javascript:1) `"


def picture(seed: int) -> Pil.Image:
    shades = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return Pil.fromarray(shades).resize((192, 192), Pil.Resampling.BICUBIC)


def encoded(image: Pil.Image, form: str = "PNG", **options: int) -> EncodedImage:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return EncodedImage(data=buffer.getvalue())


def choice(name: str, question: str, gold: str, image: EncodedImage, *options: str) -> Sample:
    return Sample(
        name, (question,), gold, "choice", images=(image,), choices=options or ("cat", "dog")
    )


MISSING = EncodedImage(path=Path("missing.png"))
FIRST, SECOND = picture(1), picture(2)
PLANTED = [
    choice("a", "What is it?", "A", encoded(FIRST)),
    # The same picture in other bytes and another size, its options in another order: other gold.
    choice("b", "What is  it?", "A", encoded(FIRST.resize((150, 150)), "JPEG"), "dog", "cat"),
    # Another order with the same gold text contradicts nobody.
    choice("c", "What is it?", "B", encoded(SECOND)),
    choice("d", "What is it?", "A", encoded(SECOND), "dog", "cat"),
    choice("e", "Is the red dog to the left of the cat?", "A", encoded(SECOND)),
    choice("e", "Is the red dog to the left of the cat?", "A", encoded(SECOND)),
    choice("f", "Which?", "C", encoded(picture(3))),
    choice("g", "Which?", "A", MISSING),
    choice("h", "Which?", "A", MISSING),
    choice("i", HOSTILE, "A", EncodedImage(data=b"x"), "same", "Same "),
    Sample("j", ("Open?",), "", "text"),
    Sample("k", ("Or not?",), "maybe", "yes_no"),
    Sample("l", ("How many?",), "some", "number"),
]


def task(samples: list[Sample] | None = None, **changes: object) -> Task:
    known = PLANTED if samples is None else samples

    def to_sample(row: Row) -> Sample:
        if row["n"] == len(known):
            raise RowError("no such column")
        return known[row["n"]]

    settings = {
        "name": "planted",
        "version": 1,
        "source": Procedural(lambda n: {"n": n}, len(known) + (samples is None), "1"),
        "to_sample": to_sample,
        "answer_type": None,
        "license": "",
        "description": "",
        **changes,
    }
    return Task(**settings)  # type: ignore[arg-type]


def read(one: Task) -> Items:
    return read_items(open_data(one, DataOptions()), progress=False)


def items_of(*samples: Sample) -> list[Item]:
    return read(task(list(samples))).items


@pytest.fixture(scope="module")
def found() -> Items:
    return read(task())


def test_planted_faults_are_found_and_no_others(found: Items) -> None:
    faults = [(fault.kind.split()[0], fault.id) for fault in found.faults]
    assert sorted(faults) == [
        *(("gold", name) for name in "fijkl"),
        ("repeated", "e"),
        ("row", "row 13"),
        *(("unreadable", name) for name in "ghi"),
    ]


def test_planted_repeats_are_found_and_no_others(found: Items) -> None:
    repeats = find_repeats(found)
    assert [sorted(group) for group in repeats.contradictions] == [[0, 1]]
    assert repeats.exact == [[4, 5]]
    assert repeats.near == []
    assert [[found.shas.index(found.shas[n]) for n in g] for g in repeats.images] == [[0, 1]]
    # Two images that cannot be read are not the same picture.
    assert all(7 not in group for group in repeats.shared_images)


def test_near_texts_differ_in_a_word_of_many() -> None:
    long = "In the picture of the old market by the river at noon how many people carry {}?"
    texts = [long.format("a red umbrella"), long.format("a red umbrella today")]
    texts += ["What is the largest?", "What is the smallest?", "17 + 25 = ?", "17 + 26 = ?"]
    assert near_texts(texts) == [(0, 1)]
    assert near_texts(texts[1:2], texts[:1]) == [(0, 0)]


def test_digests_survive_new_encodings_and_tell_pictures_apart() -> None:
    value, thumbnail = image_digests(encoded(FIRST))
    again, near = image_digests(encoded(FIRST.resize((301, 301)), "JPEG", quality=60))
    assert (value ^ again).bit_count() <= 8
    assert np.abs(thumbnail.astype(int) - near).max() <= 40
    other, _ = image_digests(encoded(SECOND))
    assert (value ^ other).bit_count() > 8


def by_rule(items: list[Item]) -> dict[str, bool]:
    return {prior.rule: prior.suspicious for prior in priors(items)}


def test_a_longest_gold_option_and_a_favourite_letter_are_found() -> None:
    drawn = np.random.default_rng(0).integers(0, 4, 400)
    even, long, favourite = [], [], []
    for n, place in enumerate(drawn):
        words = [f"w{i}" for i in range(4)]
        gold = "ABCD"[place]
        even.append(Sample(f"{n}", ("?",), gold, "choice", choices=("a", "b", "ccc", "d")))
        words[place if n % 2 else 0] += " in detail"
        long.append(Sample(f"{n}", ("?",), gold, "choice", choices=tuple(words)))
        favourite.append(
            Sample(f"{n}", ("?",), "C" if n % 3 == 0 else gold, "choice", choices=tuple("abcd"))
        )
    rules = by_rule(items_of(*even))
    assert rules["longest option"] is False and "shortest option" not in rules
    assert by_rule(items_of(*long))["longest option"] is True
    (fair,), (unfair,) = distributions(items_of(*even)), distributions(items_of(*favourite))
    assert fair.p_value is not None and fair.p_value > 0.01
    assert unfair.p_value is not None and unfair.p_value < 0.01
    assert unfair.answers[0][0] == "C"


@pytest.mark.parametrize(("follows", "expected"), [(True, True), (False, False)])
def test_answers_by_category(follows: bool, expected: bool) -> None:
    drawn = np.random.default_rng(1).integers(0, 2, (300, 2))
    samples = [
        Sample(
            f"{n}",
            ("?",),
            ("yes", "no")[kind if follows and n % 4 else other],
            "yes_no",
            groups={"kind": f"k{kind}", "id": f"{n}"},
        )
        for n, (kind, other) in enumerate(drawn)
    ]
    rules = by_rule(items_of(*samples))
    assert rules["most frequent answer per kind"] is expected
    assert "most frequent answer per id" not in rules


def test_pages_escape_what_rows_say(tmp_path: Path) -> None:
    options = AuditOptions(DataOptions(), tmp_path, progress=False)
    audit = audit_task(task(), options)
    table = Table(("a", "b"), ((HOSTILE, "1"),), more=2)
    page = Page(HOSTILE, (HOSTILE,), (Section(HOSTILE, (HOSTILE,), (table,)),))
    html = html_page(page)
    assert "<script>alert" not in html and "default-src 'none'" in html
    assert "and 2 more" in html and "and 2 more" in markdown_page(page)
    assert "<script" not in markdown_page(page) and "\\| [x\\](" in markdown_page(page)
    paths = write_audit(audit, tmp_path / "pages")
    assert [path.name for path in paths] == ["planted.md", "planted.html", "planted.json"]
    document = json.loads(paths[2].read_text())
    assert document["repeats"]["contradictions"] == [{"ids": ["a", "b"], "golds": ["cat", "dog"]}]
    assert document["n"] == 13 and len(document["faults"]) == 10
    assert any("contradict" in line for line in document["findings"])


def test_rows_that_cannot_be_audited() -> None:
    options = AuditOptions(DataOptions(), Path(), progress=False)
    with pytest.raises(TaskError, match="no rows"):
        audit_task(task([]), options)
    with pytest.raises(UsageError, match="states no training rows"):
        audit_task(task(), AuditOptions(DataOptions(), Path(), training=True))

    def wrong(row: Row) -> Sample:
        raise KeyError("question")

    with pytest.raises(TaskError, match="do not have the columns"):
        audit_task(task(to_sample=wrong), options)


def test_the_command(tmp_path: Path) -> None:
    done = here("audit", "demo", "--limit", 40, "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "demo: 40 items" in done.stdout and (tmp_path / "demo.html").is_file()
    # Missing rows fail alone, and are skipped beside others.
    missing = ["--data_root", tmp_path, "--offline", "-o", tmp_path]
    done = here("audit", "gsm8k", *missing)
    assert done.returncode == 1 and "gsm8k" in done.stderr
    done = here("audit", "gsm8k", "demo", "--limit", 8, *missing)
    assert done.returncode == 0 and "skipped" in done.stderr and "demo: 8 items" in done.stdout
    done = here("audit", "demo", "--limit", "0.1")
    assert done.returncode == 2 and "--limit 100" in done.stderr


def test_the_forest_finds_a_prior_in_the_wording_and_no_other() -> None:
    pytest.importorskip("sklearn", reason="the extra audit")
    from vsr1_bench.audit.forest import LEVEL, SHUFFLES, grow_forest, why_no_forest
    from vsr1_bench.tiny.priors import make_prior_row

    def asked(split: Split, n: int) -> list[Item]:
        no_image = EncodedImage(data=b"")
        rows = ({**make_prior_row(split, k), "image": no_image} for k in range(n))
        return [item_of(place, to_sample(row), ()) for place, row in enumerate(rows)]

    biased = grow_forest(asked("train", 400), shuffles=1, progress=False)
    assert biased.accuracy >= 0.85 and biased.p_value == 0.5  # of one shuffle
    assert max(biased.shuffled) < 0.45 and np.mean(biased.bias) > 0.7
    assert 1 / (SHUFFLES + 1) <= LEVEL < 2 / (SHUFFLES + 1)
    sound = grow_forest(asked("test", 100), shuffles=2, progress=False)
    assert sound.accuracy < 0.4 and np.mean(sound.bias) < 0.4
    assert sound.uniform == pytest.approx(0.265, abs=0.01)
    assert "few" in str(why_no_forest(asked("test", 20)))
    assert "often" in str(why_no_forest(items_of(*UNIQUE)))


UNIQUE = [Sample(f"{n}", (f"Which is {n}?",), f"name {n}", "text") for n in range(60)]


def test_a_cluster_is_never_on_both_sides() -> None:
    pytest.importorskip("sklearn", reason="the extra audit")
    from vsr1_bench.audit.forest import grow_forest

    # The answer belongs to the figure, which only its own questions name.
    drawn = np.random.default_rng(3).integers(0, 2, 20)
    samples = [
        Sample(
            f"{n}",
            (f"In figure {n // 5}?",),
            ("no", "yes")[drawn[n // 5]],
            "yes_no",
            groups={"figure": f"f{n // 5}"},
        )
        for n in range(100)
    ]
    open_folds = grow_forest(items_of(*samples), shuffles=1, progress=False)
    apart = grow_forest(items_of(*samples), "figure", shuffles=1, progress=False)
    assert open_folds.accuracy > 0.9 > 0.75 > apart.accuracy


def test_without_scikit_learn_the_page_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    part = forest_part([item for item in items_of(*LETTERED)], None, progress=False)
    assert "scikit-learn is missing" in part.sections[0].paragraphs[0]
    assert part.document == {"forest": None}


LETTERED = [Sample(f"{n}", ("?",), "AB"[n % 2], "choice", choices=("x", "y")) for n in range(60)]


def test_a_forest_below_the_most_frequent_answer_is_no_finding() -> None:
    """3 of 500 open answers, where shuffled answers give none: so it was with a real benchmark."""
    pytest.importorskip("sklearn", reason="the extra audit")
    from vsr1_bench.audit.forest import Forest

    shuffled = (0.0,) * 39
    few, many = (
        Forest(500, right, 0.003, 0.038, shuffled, 0.025, (0.1,) * 500, ()) for right in (3, 30)
    )
    assert few.p_value == many.p_value == 0.025
    assert not few.suspicious and many.suspicious


def test_images_that_are_not_there_are_named_once() -> None:
    samples = [choice(f"{n}", "Which?", "A", EncodedImage()) for n in range(3)]
    options = AuditOptions(DataOptions(), Path(), progress=False)
    audit = audit_task(task(samples), options)
    assert "no image can be read: are the images there?" in audit.findings
    assert audit.document["faults"][0]["detail"] == "image 1 of 1: the row has no image"
    assert "So few items" in audit.page.about[0]
    text = audit_task(task([Sample("a", ("Why?",), "so", "text")]), options).page.sections[0]
    assert "no item has an image" in text.paragraphs[0]


def test_the_stored_pages_are_of_these_rows() -> None:
    """`make audit` writes them again."""
    for name, side in (("demo", False), ("demo_prior", False), ("demo_prior", True)):
        one = get_task(name)
        one = training_side(one, "") if side else one
        page = (ROOT / f"results/tiny/audit/{name}{'_training' * side}.md").read_text("utf-8")
        assert open_data(one, DataOptions()).spec.fingerprint in page
        assert ("the wording alone gives" in page) is side


def test_real_slices(real_slices: Path, tmp_path: Path) -> None:
    """Nobody has planted anything there: sound rows are not accused."""
    names = ["visnumbench", "mathvision", "mmmu_pro_10", "gsm8k", "mathverse_text_only"]
    rows = ["--data_root", real_slices, "--offline", "--limit", 49]  # too few for a forest
    done = here("audit", *names, *rows, "-o", tmp_path)
    assert done.returncode == 0, done.stderr
    for name in names:
        document = json.loads((tmp_path / f"{name}.json").read_text())
        assert document["faults"] == []
        assert document["repeats"]["contradictions"] == []
        assert document["repeats"]["exact"] == []
