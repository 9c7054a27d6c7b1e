"""The parts of the lmms-eval exchange that work, and are tested, without lmms-eval."""

from __future__ import annotations

import ast
import io
import json
import os
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tree import ROOT, python_files

from vsr1_bench.cli.main import main
from vsr1_bench.data.dataset import DataOptions, open_data
from vsr1_bench.errors import TaskError
from vsr1_bench.generation.images import decode
from vsr1_bench.harness import TaskOverrides
from vsr1_bench.leaderboard import render
from vsr1_bench.lmms_eval.data import fingerprint, own_sampling
from vsr1_bench.lmms_eval.groups import score_groups
from vsr1_bench.lmms_eval.loading import Plan
from vsr1_bench.lmms_eval.messages import read_messages, sampling_of
from vsr1_bench.lmms_eval.worker import _head, numbers, packed, restored, unpacked
from vsr1_bench.prompts.formats import OWN, build_messages
from vsr1_bench.records import ImagePlace, Message, Sample
from vsr1_bench.registry import get_task
from vsr1_bench.store.run_folder import RunFolder
from vsr1_bench.store.spec import DataSpec, RunSpec

absent = pytest.mark.skipif(bool(find_spec("lmms_eval")), reason="lmms-eval is installed here")


def test_only_the_modules_that_lmms_eval_itself_loads_import_it_at_once() -> None:
    found = set()
    for path in python_files("vsr1_bench", "tasks", "judges", "train"):
        for node in ast.parse((ROOT / path).read_text("utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            found |= {path.name for name in names if name.split(".")[0] == "lmms_eval"}
    assert found == {"model.py"}


@absent
@pytest.mark.parametrize(
    "words",
    ["--model tiny --tasks lmms_eval/mmmu_val", "ls tasks --source lmms_eval"],
)
def test_where_it_is_missing_one_line_says_so(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert "uv pip install --override overrides-lmms.txt" in told[0]


def picture(color: tuple[int, int, int]) -> Image.Image:
    return Image.new("RGB", (6, 4), color)


def test_messages_keep_every_text_role_and_image_at_its_place() -> None:
    told = [
        {"role": "system", "content": "Be brief. "},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": " before\n"},
                {"type": "image", "url": picture((255, 0, 0))},
                {"type": "text", "text": ""},
                {"type": "image", "url": picture((0, 0, 255))},
                {"type": "text", "text": "after \n\n"},
            ],
        },
    ]
    messages, images = read_messages(told)
    assert messages == (
        Message("system", ("Be brief. ",)),
        Message("user", (" before\n", ImagePlace(0), "", ImagePlace(1), "after \n\n")),
    )
    shown = [decode(image, 1, 10**6).getpixel((0, 0)) for image in images]
    assert shown == [(255, 0, 0), (0, 0, 255)]


def test_a_photo_that_its_task_has_turned_is_not_turned_again() -> None:
    exif = Image.Exif()
    exif[274] = 6
    buffer = io.BytesIO()
    picture((1, 2, 3)).save(buffer, "JPEG", exif=exif)
    opened = Image.open(io.BytesIO(buffer.getvalue()))
    (message,) = [{"role": "user", "content": [{"type": "image", "url": opened}]}]
    _, (image,) = read_messages([message])
    assert decode(image, 1, 10**6).size == (6, 4)


def test_offline_holds_for_its_code_and_for_the_process_that_scores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import datasets
    from huggingface_hub import constants

    def load_task(*told: Any) -> Any:
        assert constants.HF_HUB_OFFLINE  # of `hf_hub_download` in a task's code
        assert datasets.config.HF_HUB_OFFLINE
        assert os.environ["HF_HUB_OFFLINE"] == "1"  # of processes started from here
        raise TaskError("asked no hub")

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("vsr1_bench.lmms_eval.data.load_task", load_task)
    with pytest.raises(TaskError, match="asked no hub"):
        open_data(get_task("lmms_eval/anything"), DataOptions(offline=True))


class Documents:
    """A task object as lmms-eval makes it, as far as its rows are asked for."""

    DATASET_PATH, DATASET_NAME = "org/sums", "main"

    def __init__(self) -> None:
        self.config = SimpleNamespace(
            task="sums",
            test_split=None,
            validation_split="val",
            num_fewshot=0,
            repeats=2,
            generation_kwargs={"max_new_tokens": 16, "until": ["\n\n"]},
            metadata=None,
        )
        self.eval_docs = [{"asked": f"{n} + {n}?", "answer": 2 * n} for n in range(3)]
        self.dataset = {"val": self.eval_docs}

    def has_test_docs(self) -> bool:
        return False

    def set_fewshot_seed(self, seed: int) -> None: ...

    def doc_to_target(self, document: dict[str, Any]) -> int:
        return int(document["answer"])

    def construct_requests(self, doc_id: int, ctx: str, metadata: dict[str, Any]) -> Any:
        def messages(document: dict[str, Any]) -> list[dict[str, Any]]:
            if doc_id == 2:
                raise KeyError("asked")
            return [{"role": "user", "content": document["asked"]}]

        return SimpleNamespace(args=(ctx, messages))


def test_documents_are_samples_by_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, plan = Documents(), Plan("sums", {"generation_kwargs": {}}, None, ())
    monkeypatch.setattr("vsr1_bench.lmms_eval.data.load_task", lambda *told: (theirs, plan))
    monkeypatch.setattr("vsr1_bench.lmms_eval.data.digest_of", lambda *told: "0123456789abcdef++")
    monkeypatch.setattr("vsr1_bench.lmms_eval.data.fingerprint", lambda documents: "f")
    data = open_data(get_task("lmms_eval/sums"), DataOptions())
    assert data.n_rows == 3 and data.spec == DataSpec(
        id="org/sums", config="main", split="val", revision=None, fingerprint="f"
    )
    assert data.own == TaskOverrides(
        "0123456789abcdef", {"temperature": 0.0, "max_tokens": 16, "n": 2}
    )
    found = list(data.samples(2))
    assert [(s.id, s.question, s.answer) for s in found] == [
        ("0", ("0 + 0?",), "0"),
        ("1", ("1 + 1?",), "2"),
    ]
    with pytest.raises(TaskError, match=r"row 2 of org/sums \(val\): its own code fails: KeyError"):
        data.sample(2)


def test_an_image_deep_in_a_document_has_one_fingerprint() -> None:
    # `datasets` opens it, and what Python writes of an open image names an address in memory.
    from datasets import Dataset, Features, Image, Value

    features = Features({"asked": {"text": Value("string"), "shown": Image()}})

    def hashed(color: tuple[int, int, int]) -> str:
        rows = [{"asked": {"text": "what?", "shown": picture(color)}}]
        return fingerprint(Dataset.from_list(rows, features=features))

    assert hashed((1, 2, 3)) == hashed((1, 2, 3)) != hashed((1, 2, 4))


@pytest.mark.parametrize("kind", ["video", "audio"])
def test_what_is_no_image_is_refused(kind: str) -> None:
    with pytest.raises(TaskError, match=f"it shows {kind}"):
        read_messages([{"role": "user", "content": [{"type": kind, "url": "x.mp4"}]}])


def test_own_messages_are_asked_to_the_letter() -> None:
    sample = Sample("1", (" one ", ImagePlace(0), "two\n "), "", "text")
    assert build_messages(sample, OWN) == (Message("user", sample.question),)
    turns = [["system", ["old"]], ["user", ["a", {"image": 0}]], ["assistant", ["b"]]]
    sample = Sample("1", (), "", "text", extra={"turns": turns})
    found = build_messages(sample, OWN, system="new")
    assert [m.role for m in found] == ["system", "user", "assistant"]
    assert found[0].content == ("new",)
    assert found[1].content == ("a", ImagePlace(0))


@pytest.mark.parametrize(
    ("told", "stop", "wanted"),
    [
        (None, False, {"temperature": 0.0}),
        ({"max_new_tokens": 16, "until": ["\n\n"]}, False, {"temperature": 0.0, "max_tokens": 16}),
        ({"until": ["END", ""]}, True, {"temperature": 0.0, "stop": ("END",)}),
        ({"until": "END"}, True, {"temperature": 0.0, "stop": ("END",)}),
        ({"temperature": 0.7, "do_sample": False, "top_p": 0.9}, False, {"temperature": 0.0}),
        (
            {"temperature": 0.7, "top_p": 0.9, "top_k": None},
            True,
            {"temperature": 0.7, "top_p": 0.9},
        ),
    ],
)
def test_generation_settings(told: Any, stop: bool, wanted: dict[str, Any]) -> None:
    assert sampling_of(told, stop=stop) == wanted


@pytest.mark.parametrize(
    ("until", "delimiter", "wanted"),
    [(["\n\n"], "\n\n", None), (["##"], "##", None), (["END"], "\n\n", ("END",))],
)
def test_a_task_in_python_keeps_no_stop_string_that_was_put_in(
    until: list[str], delimiter: str, wanted: tuple[str, ...] | None
) -> None:
    config = SimpleNamespace(generation_kwargs={"until": until}, fewshot_delimiter=delimiter)
    found = own_sampling(config, Plan("trap", None, object(), ()))
    assert found.get("stop") == wanted


HELD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_infinity=False)
    | st.text()
    | st.builds(np.float64, st.floats())
    | st.builds(np.int64, st.integers(-(2**63), 2**63 - 1))
    | st.builds(np.bool_, st.booleans()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def plain(value: Any) -> Any:
    """The same without NumPy's types."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value.item() if isinstance(value, np.generic) else value


@given(st.dictionaries(st.text(), st.dictionaries(st.text(), HELD, max_size=3), max_size=2))
def test_values_come_back_as_they_were(values: dict[str, dict[str, Any]]) -> None:
    packing = packed(values)
    if packing is None:  # NaN of NumPy's beside numbers that are equal but not the same
        return
    again = unpacked(json.loads(json.dumps(packing), object_hook=restored))
    # repr: NaN is NaN, 1 is neither 1.0 nor True. A filter without values has none to give back.
    assert repr(again) == repr(plain({key: inner for key, inner in values.items() if inner}))


def test_objects_that_metrics_share_are_shared_again_and_what_is_lost_is_not_kept() -> None:
    shared = {"said": "x"}
    again = unpacked(packed({"none": {"a": shared, "b": shared, "c": {"said": "x"}}}))["none"]
    assert again["a"] is again["b"]
    assert again["a"] is not again["c"]
    for kept in (float("nan"), [None, True, "x", {"a": 0.1}], np.int64(3), np.bool_(False)):
        assert packed({"none": {"a": kept}}) is not None
    objects = ({"x"}, b"x", [np.zeros(2)], np.longdouble(1) / 3, 1j, np.float64)
    for lossy in (*objects, (1, 2), {1: 2}, np.float32(0.1), {"\0kind": "tuple", "held": []}):
        assert packed({"none": {"a": lossy}}) is None


def test_values_that_an_earlier_version_stored_are_read() -> None:
    """Tuples, other keys and NumPy's numbers: their scorer may have paid a judge for them."""
    kind = "\0kind"
    table = [
        {kind: "tuple", "held": [1, {kind: "<f4", "held": 0.5}]},
        {kind: "dict", "held": [[1, "one"], [{kind: "tuple", "held": [2, 3]}, None]]},
        {"plain": [{kind: "|b1", "held": True}]},
    ]
    stored = {"table": table, "refs": {"none": {"a": 0, "b": 1, "c": 2, "d": 0}}}
    again = unpacked(json.loads(json.dumps(stored), object_hook=restored))["none"]
    wanted = [(1, np.float32(0.5)), {1: "one", (2, 3): None}, {"plain": [np.True_]}]
    assert repr([again["a"], again["b"], again["c"]]) == repr(wanted)
    assert again["d"] is again["a"]


@pytest.mark.parametrize("one", [1, 1.0, True, np.int64(1), np.float32(1), np.True_])
def test_a_number_of_any_kind_is_a_documents_score(one: Any) -> None:
    assert _head(one) == _head({"score": one, "said": "x"})["score"] == 1.0


def test_aggregates_as_numbers() -> None:
    assert numbers(0.5) == {"": 0.5}
    assert numbers({"a": 1, "b": {"c": 2.5, "d": "text"}}) == {"a": 1.0, "b.c": 2.5}
    assert numbers(float("nan")) == {"": None}
    assert numbers("text") == {}


def stored(root: Path, member: str, value: float | None, samples: int, **told: Any) -> RunFolder:
    """A scored run of a member of group `both`, as `lmms_eval.scoring` leaves it."""
    spec = json.loads(SPEC)
    spec["task"]["name"] = f"lmms_eval/both/{member}"
    spec["sampling"] |= told
    made = RunSpec.model_validate(spec)
    folder = RunFolder.of(root, made)
    folder.write_meta(made, samples, {"limit": None})
    group = {
        "name": "both",
        "members": ["one", "two"],
        "version": 2.0,
        "metrics": [{"metric": "acc", "mean": True, "weight_by_size": True}],
    }
    folder.write_scores(
        "lmms_eval",
        {
            "model": "m",
            "task": made.task.name,
            "version": "1.0 (lmms-eval 9.9)",
            "judge": "lmms_eval",
            "prompt": "own",
            "variant": "none",
            "spec_hash": made.digest(),
            "n": samples,
            "metrics": {"acc": {"value": value, "low": None, "high": None, "n": 1, "unit": "own"}},
            "rates": {
                "total": samples,
                "scored": samples,
                "unparsed": 0.0,
                "truncated": 0.0,
                "failed": 0.0,
                "ranked": True,
            },
            "by": {},
            "lmms_eval": {
                "package": "9.9",
                "values": {"acc,none": value},
                "samples": samples,
                "groups": [group],
            },
        },
    )
    return folder


SPEC = json.dumps(
    {
        "model": {"id": "m", "fingerprint": "f"},
        "sampling": {
            "temperature": 0.0,
            "top_p": 1.0,
            "top_k": -1,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "max_tokens": 16,
            "stop": [],
            "seed": 0,
            "n": 1,
            "min_pixels": 1,
            "max_pixels": 9,
        },
        "prompt": {"format": "own", "hash": "h", "chat_template_hash": None, "system": None},
        "task": {"name": "", "version": 1},
        "data": {"id": "d", "config": None, "split": "test", "revision": None, "fingerprint": "f"},
    }
)


def test_a_groups_number_is_made_of_stored_scores_and_shown_in_its_own_unit(tmp_path: Path) -> None:
    runs = [stored(tmp_path, "one", 0.25, 3), stored(tmp_path, "two", 1200.5, 1, max_tokens=32)]
    ((document, members),) = score_groups(runs, None)
    assert [run.path for run in members] == [run.path for run in runs]
    assert document["task"] == "lmms_eval/both"
    assert document["metrics"]["acc"]["value"] == (0.25 * 3 + 1200.5 * 1) / 4
    assert document["version"] == "2.0 (lmms-eval 9.9)"
    text = render([*(d for run in runs for d in run.scores()), document], "markdown")
    assert " 0.2500 " in text
    assert " 1200.5000 " in text
    assert " 300.3125 " in text
    assert "1.0 (lmms-eval 9.9)" in text
    assert score_groups(runs[:1], None) == []  # a member is missing
    assert score_groups(runs, {"math"}) == []
    twice = [*runs, stored(tmp_path, "two", 0.5, 1)]
    assert score_groups(twice, None) == []  # nobody knows which goes with the other


def test_a_group_run_twice_with_other_settings_has_both_numbers(tmp_path: Path) -> None:
    greedy = [stored(tmp_path, name, 0.25, 1) for name in ("one", "two")]
    warm = {"temperature": 0.7}
    drawn = [stored(tmp_path, name, 0.75, 1, **warm) for name in ("one", "two")]
    for run in drawn:
        run.write_meta(run.spec(), 1, {"limit": None, "gen_kwargs": warm})
    found = score_groups([*greedy, *drawn], None)
    assert [one["metrics"]["acc"]["value"] for one, _ in found] == [0.25, 0.75]
    # Scored by another version: a group of its own, which is not whole.
    ((document,),) = [run.scores() for run in drawn[:1]]
    document["lmms_eval"]["package"] = "9.10"
    drawn[0].write_scores("lmms_eval", document)
    found = score_groups([*greedy, *drawn], None)
    assert [one["metrics"]["acc"]["value"] for one, _ in found] == [0.25]


def test_a_group_with_an_unscored_member_has_no_number(tmp_path: Path) -> None:
    runs = [stored(tmp_path, "one", 0.25, 3), stored(tmp_path, "two", None, 1)]
    ((document, members),) = score_groups(runs, None)
    assert [run.path for run in members] == [run.path for run in runs]
    assert document["metrics"]["acc"]["value"] is None


def test_stored_runs_are_named_without_it() -> None:
    task = get_task("lmms_eval/anything")
    assert (task.name, task.judge) == ("lmms_eval/anything", "lmms_eval")
