"""Runs published to a folder and fetched again: what is in a bundle, and what is not."""

from __future__ import annotations

import getpass
import json
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
import zstandard
from bundles import RIGHT, ROWS, Bundle, files_below, made_run, mirror

from vsr1_bench.data.dataset import DataOptions
from vsr1_bench.errors import ExchangeError, StoreError, UsageError
from vsr1_bench.judging.llm_replies import Reply, ReplyJournal, read_replies
from vsr1_bench.judging.runs import judge_run
from vsr1_bench.publish.gold_answers import restore_gold_answers
from vsr1_bench.publish.pack import PackOptions
from vsr1_bench.publish.publishing import publish
from vsr1_bench.publish.redact import Private
from vsr1_bench.publish.remotes import open_remote
from vsr1_bench.publish.unpack import download
from vsr1_bench.records import Completion
from vsr1_bench.registry import get_task
from vsr1_bench.scoring.runs import judge_and_score, score_run
from vsr1_bench.store.run_folder import RunFolder, find_runs
from vsr1_bench.task import example_image

QUIET = PackOptions(progress=False)


def published(folder: Path, to: str = "bundle", **changes: Any) -> Bundle:
    publish(find_runs(folder / "runs"), str(folder / to), replace(QUIET, **changes))
    return Bundle(folder / to)


def fetched(bundle: Bundle, to: Path) -> RunFolder:
    (run,) = download(str(bundle.folder), to, progress=False).new
    return run


def told(bundle: Bundle) -> str:
    """Every byte of a bundle that can be read, journals decompressed, and its names."""
    said = "\n".join(files_below(bundle.folder))
    for name in files_below(bundle.folder):
        data = (bundle.folder / name).read_bytes()
        if name.endswith(".zst"):
            data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
        said += data.decode("utf-8", "replace")
    return said


def accuracy(run: RunFolder, judge: str | None = None) -> float:
    value: float = judge_and_score(run, judge, progress=False)["metrics"]["accuracy"]["value"]
    return value


def test_scores_are_the_same_bit_for_bit(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    (score,) = run.scores()
    copy = fetched(published(tmp_path), tmp_path / "elsewhere")
    assert copy.scores() == [score]
    (copy.path / "scores/string_match.json").unlink()
    assert score_run(copy, "string_match") == score  # from the verdicts, without golds or data
    assert score["metrics"]["accuracy"]["value"] == RIGHT / len(ROWS)


def test_golds_are_left_out_and_put_back(tmp_path: Path) -> None:
    made_run(tmp_path)
    bundle = published(tmp_path)
    assert all('"answer":null' in line for line in bundle.text("samples").splitlines())
    assert '"extra":null' in bundle.text("samples")
    copy = fetched(bundle, tmp_path / "elsewhere")
    assert copy.withheld() == ("answer", "extra")
    with pytest.raises(StoreError, match=r"came without gold answers.*--data_root"):
        judge_run(copy, "math", progress=False)
    with pytest.raises(StoreError, match=r"the data are not here .*vsr1-bench table"):
        restore_gold_answers(copy, DataOptions(offline=True), progress=False)
    assert restore_gold_answers(copy, DataOptions(tmp_path / "mirror"), progress=False)
    assert copy.withheld() == () and not restore_gold_answers(copy, DataOptions(), progress=False)
    assert [s.answer for s in copy.samples().values()] == [str(n) for n in range(len(ROWS))]
    assert accuracy(copy, "math") == RIGHT / len(ROWS)


def test_other_data_are_no_golds(tmp_path: Path) -> None:
    made_run(tmp_path)
    copy = fetched(published(tmp_path), tmp_path / "elsewhere")
    for changed in (ROWS[:-1], [*ROWS[:-1], {**ROWS[-1], "answer": "#### 12"}], ROWS[::-1]):
        other = mirror(tmp_path / "other", changed)
        with pytest.raises(StoreError, match=f"here openai/gsm8k .test. has {len(changed)} rows"):
            restore_gold_answers(copy, DataOptions(other), progress=False)
    assert copy.withheld()


def test_golds_and_images_where_the_license_allows(tmp_path: Path) -> None:
    made_run(tmp_path)
    bundle = published(tmp_path, with_golds=True)
    copy = fetched(bundle, tmp_path / "elsewhere")
    assert copy.withheld() == () and bundle.manifest["runs"][0]["golds"]
    assert bundle.manifest["runs"][0]["license"] == get_task("gsm8k").license == "MIT"
    assert accuracy(copy, "math") == RIGHT / len(ROWS)


@pytest.mark.parametrize("flag", ["with_golds", "with_images"])
def test_a_license_that_does_not_allow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    run = made_run(tmp_path)
    strict = replace(get_task("gsm8k"), license="CC-BY-NC-4.0")
    for module in ("pack", "gold_answers"):
        monkeypatch.setattr(f"vsr1_bench.publish.{module}.get_task", lambda *_: strict)
    with pytest.raises(UsageError, match=rf"--{flag}: the license of gsm8k .CC-BY-NC-4.0. is not"):
        published(tmp_path, **{flag: True})
    assert not (tmp_path / "bundle").exists()
    # Then the questions, too, are left to whoever has the data.
    bundle = published(tmp_path)
    assert "+ 0?" not in told(bundle)
    copy = fetched(bundle, tmp_path / "elsewhere")
    assert copy.scores() == run.scores()
    restore_gold_answers(copy, DataOptions(tmp_path / "mirror"), progress=False)
    assert list(copy.samples().values()) == list(run.samples().values())


def test_images_are_in_the_bundle_once(tmp_path: Path) -> None:
    from vsr1_bench.imports.responses import ImportOptions, import_responses

    file = tmp_path / "r.jsonl"
    file.write_text('{"response": "\\\\boxed{1}"}\n' * 3)
    options = ImportOptions(
        "demo", file, "m", by="row", output_path=tmp_path / "runs", progress=False
    )
    run = import_responses(options)
    meta = json.loads((run.path / "run.json").read_text()) | {"samples": 3}
    (run.path / "run.json").write_text(json.dumps(meta))
    rest = (run.path / "samples.jsonl").read_text().splitlines(keepends=True)[:3]
    (run.path / "samples.jsonl").write_text("".join(rest))
    judge_and_score(run, None, progress=False)
    bundle = published(tmp_path, with_images=True)
    images = [name for name in files_below(bundle.folder) if "/images/" in name]
    assert len(images) == 3 and all(name.endswith(".png") for name in images)
    copy = fetched(bundle, tmp_path / "elsewhere")
    assert len(list((copy.path / "images").iterdir())) == 3
    bundle.replace("images/" + Path(images[0]).name, b"MZ no picture")
    with pytest.raises(ExchangeError, match="is not such an image"):
        fetched(bundle, tmp_path / "third")
    assert example_image().read()[:4] == b"\x89PNG"


def test_nothing_tells_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "nostromo.weyland.example")
    monkeypatch.setattr(getpass, "getuser", lambda: "ripley")
    key = "sk-proj-Aa1Bb2Cc3Dd4Ee5Ff6"
    monkeypatch.setenv("SOME_API_KEY", key)
    monkeypatch.setattr("sys.argv", ["vsr1-bench", "import", f"--responses={tmp_path}/x"])
    run = made_run(tmp_path)
    journal = run.path / "generations.jsonl"
    last = json.loads(journal.read_text().splitlines()[-1])
    failed = last | {
        "error": f"ripley on nostromo: {tmp_path}/x.png of /data/ann/y.png, C:\\Users\\ann\\z, "
        f"~/w/v, https://ann:pw@host.example:80/v1?key=1 refused {key} and/or 1/2",
        "text": "",
        "finish_reason": "error",
        "index": 1,
        "key": "0" * 32,
    }
    with journal.open("a") as file:
        file.write(json.dumps(failed) + "\n")
    meta = json.loads((run.path / "run.json").read_text())
    assert str(tmp_path) in meta["command"]
    bundle = published(tmp_path)
    said = told(bundle)
    hidden = ("ripley", "nostromo", "weyland", key, str(tmp_path), "/data/ann", "ann", "host.exa")
    assert [word for word in hidden if word in said] == []
    assert "<user> on <host>: <path> of <path>, <path>, <path>, <url> refused <key>" in said
    assert "and/or 1/2" in said
    assert "command" not in bundle.text("run.json")


@pytest.mark.parametrize(("what", "kind"), [("key", "a key"), ("folder", "a folder")])
def test_what_a_model_said_is_not_changed_but_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, kind: str
) -> None:
    monkeypatch.setenv("MY_TOKEN", "correct-horse-battery")
    run = made_run(tmp_path)
    word = "correct-horse-battery" if what == "key" else str(run.path.resolve())
    journal = run.path / "generations.jsonl"
    journal.write_text(journal.read_text().replace("\\\\boxed{99}", word, 1))
    with pytest.raises(ExchangeError, match=rf"generations.jsonl:10: {kind} of this machine") as e:
        published(tmp_path)
    assert "correct-horse" not in str(e.value)
    assert not (tmp_path / "bundle").exists()


def test_a_judge_quotes_the_gold_answer_only_with_golds(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    (journal,) = (run.path / "judgments").glob("*.jsonl")
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for line in lines:
        line["raw"] = "the reference says MARK"
        line["verdict"]["reason"] = "MARK"
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "MARK" not in told(published(tmp_path))
    assert told(published(tmp_path, "whole", with_golds=True)).count("MARK") == 2 * len(ROWS)


def test_a_model_named_by_a_path_gets_another_name(tmp_path: Path) -> None:
    made_run(tmp_path, model="/models/org/secret")
    with pytest.raises(UsageError, match=r"named by a path.*--model NAME"):
        published(tmp_path)
    bundle = published(tmp_path, model="org/open")
    assert "secret" not in told(bundle)
    copy = fetched(bundle, tmp_path / "elsewhere")
    assert copy.spec().model.id == "org/open" and copy.path.parent.name == "org--open"
    assert copy.scores()[0]["model"] == "org/open"


def test_publishing_again_adds_and_replaces(tmp_path: Path) -> None:
    first = made_run(tmp_path / "a", "one")
    second = made_run(tmp_path / "b", "two")
    target = str(tmp_path / "bundle")
    publish([first], target, QUIET)
    publish([second], target, QUIET)
    judge_and_score(first, "math", progress=False)
    (first.path / "scores/string_match.json").unlink()
    publish([first], target, QUIET)
    found = download(target, tmp_path / "runs", progress=False)
    assert sorted(run.spec().model.id for run in found.new) == ["one", "two"]
    assert not [name for name in files_below(tmp_path / "bundle") if name.endswith(".part")]
    one, two = sorted(found.new, key=lambda run: run.spec().model.id)
    assert [d["judge"] for d in one.scores()] == ["math"]  # what was taken away is gone
    assert [d["judge"] for d in two.scores()] == ["string_match"]
    with pytest.raises(UsageError, match="a run of the same spec"):
        publish([first, RunFolder(first.path)], target, QUIET)


def test_downloading_again(tmp_path: Path) -> None:
    made_run(tmp_path)
    bundle = published(tmp_path)
    run = fetched(bundle, tmp_path / "runs2")
    again = download(str(bundle.folder), tmp_path / "runs2", progress=False)
    assert again.new == [] and [known.path for known in again.known] == [run.path]
    with pytest.raises(UsageError, match="there already, and not as this bundle has it"):
        download(str(bundle.folder), tmp_path / "runs", progress=False)  # where it was made


def test_a_bundle_that_has_grown_brings_what_is_new(tmp_path: Path) -> None:
    first, second = made_run(tmp_path / "a", "one"), made_run(tmp_path / "b", "two")
    target, to = str(tmp_path / "bundle"), tmp_path / "fetched"
    publish([first], target, QUIET)
    download(target, to, progress=False)
    publish([second], target, QUIET)
    found = download(target, to, progress=False)
    assert [run.spec().model.id for run in found.new] == ["two"]
    assert [run.spec().model.id for run in found.known] == ["one"]
    judge_and_score(first, "math", progress=False)
    publish([first], target, QUIET)
    with pytest.raises(UsageError, match="not as this bundle has it"):
        download(target, to, progress=False)


@pytest.mark.parametrize("where", ["whole", "manifest.json.part", ".lock"])
def test_a_link_on_the_way_is_not_followed(tmp_path: Path, where: str) -> None:
    made_run(tmp_path)
    bundle = published(tmp_path)
    outside = tmp_path / "outside"
    outside.write_text("mine")
    (tmp_path / "there/.download").mkdir(parents=True)
    (tmp_path / "there/.download" / where).symlink_to(outside)
    with pytest.raises(ExchangeError, match="a link; nothing is written through it"):
        download(str(bundle.folder), tmp_path / "there", progress=False)
    assert outside.read_text() == "mine"


def test_a_link_in_the_folder_that_is_published_to(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    outside = tmp_path / "outside"
    outside.write_text("mine")
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/manifest.json.part").symlink_to(outside)
    with pytest.raises(ExchangeError, match="a link where a file is wanted"):
        publish([run], str(tmp_path / "bundle"), QUIET)
    assert outside.read_text() == "mine"


def test_stale_scores_are_not_published(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    (path,) = (run.path / "scores").iterdir()
    path.write_text(path.read_text().replace('"value": 0.75', '"value": 0.8'))
    with pytest.raises(ExchangeError, match=r"states accuracy 0\.8, its verdicts give 0\.75"):
        published(tmp_path)


def test_shards_and_replies_travel(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    (run.path / "samples.jsonl").rename(run.path / "samples.0-of-1.jsonl")
    replies = ReplyJournal(run.replies / "openai%5BM%5D-0123abcd.jsonl", set())
    replies.add("k", Reply(Completion("k", "it is MARK", "stop")))
    replies.close()
    (run.path / "notes.txt").write_text("mine")
    copy = fetched(published(tmp_path, with_golds=True), tmp_path / "elsewhere")
    assert (copy.path / "samples.0-of-1.jsonl").is_file()
    said = read_replies(copy.replies / "openai%5BM%5D-0123abcd.jsonl")
    assert said["k"].completion.text == "it is MARK"
    assert not (copy.path / "notes.txt").exists()
    assert "MARK" not in told(published(tmp_path, "without"))  # it quotes the gold answer


def test_a_link_in_a_run_is_not_followed(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    journal = run.path / "generations.jsonl"
    journal.rename(tmp_path / "outside.jsonl")
    journal.symlink_to(tmp_path / "outside.jsonl")
    with pytest.raises(StoreError, match="a link that leaves the run's folder"):
        published(tmp_path)


def test_a_link_where_runs_go_is_not_followed(tmp_path: Path) -> None:
    made_run(tmp_path)
    bundle = published(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "there/org--model").symlink_to(tmp_path / "outside")
    with pytest.raises(ExchangeError, match="a link; nothing is written through it"):
        download(str(bundle.folder), tmp_path / "there", progress=False)
    assert list((tmp_path / "outside").iterdir()) == []


def test_another_file_system_of_fsspec(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    publish([run], "memory://shelf/bundle", QUIET)
    try:
        found = download("memory://shelf/bundle", tmp_path / "elsewhere", progress=False)
        assert found.new[0].scores() == run.scores()
    finally:
        fsspec.filesystem("memory").rm("/shelf", recursive=True)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("hf://org/name", "wanted hf://datasets/ORG/NAME"),
        ("hf://datasets/org", "wanted hf://datasets/ORG/NAME"),
        ("https://", "wanted hf://|no manifest|has no"),
        ("https://host.example:port/x", "wanted hf://"),
        ("https://[::1/x", "wanted hf://"),
        ("nowhere://x", "Protocol not known: nowhere; wanted hf://"),
    ],
)
def test_addresses_that_are_none(address: str, said: str, tmp_path: Path) -> None:
    with pytest.raises((UsageError, ExchangeError), match=said):
        download(address, tmp_path / "runs", progress=False)


def test_what_is_private() -> None:
    private = Private(("secret-secret",), ("/a/b", "/srv9/"), ("box",), ("ann",))
    assert private.redact("ann@box: secret-secret in /a/b") == "<user>@<host>: <key> in <path>"
    kept = "km/h, 1/2, and/or, </think>, box-plot, annual, <image 1>"
    assert private.redact(kept) == kept
    private.check("the root of /srv9 is 2", "x")
    with pytest.raises(ExchangeError, match="x: a folder of this machine"):
        private.check("in /srv9/.ssh", "x")


def test_places_show_no_password() -> None:
    assert (
        open_remote("https://ann:pw@host.example/runs/?sig=1").name == "https://host.example/runs/"
    )
    assert open_remote("memory://ann:p@ss@shelf/runs?sig=1").name == "memory://shelf/runs"
