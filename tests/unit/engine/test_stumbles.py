"""Small things that people stumbled over: bars, names of files, what is missing, what is left."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from bundles import made_run
from cli import error_line, here
from scored import spec_of, stored_run

from vsr1_bench._util import progress
from vsr1_bench._util.progress import Bar
from vsr1_bench.cli.main import main
from vsr1_bench.errors import JudgeMissingError, TaskError, UsageError
from vsr1_bench.generation.images import ImageError, decode
from vsr1_bench.generation.tally import Tally
from vsr1_bench.pipeline.plan import RunOptions, plan
from vsr1_bench.pipeline.report import report_failures
from vsr1_bench.publish.pack import PackOptions
from vsr1_bench.publish.publishing import publish, unpublish
from vsr1_bench.publish.unpack import download
from vsr1_bench.records import EncodedImage
from vsr1_bench.store.run_folder import find_runs


def test_the_time_left_is_without_the_start_of_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with Bar(total=110, file=io.StringIO()) as bar:
        bar.skip(50)  # from the store
        now[0] += 300  # the engine starts
        bar.update(10)
        assert bar.format_dict["rate"] == 0  # nothing is known yet: `?`
        now[0] += 20
        bar.skip(10)
        bar.update(10)
        assert bar.format_dict["rate"] == pytest.approx(0.5)  # 10 in 20 s, and 60 s for the rest
        assert bar.n == 80


def test_an_image_that_cannot_be_read_is_named_and_many_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tally = Tally("responses", finished=1)
    for name in ("a.png", "b.png"):
        with pytest.raises(ImageError, match=f"cannot be read: FileNotFoundError .{name}.$") as one:
            decode(EncodedImage(path=tmp_path / name), 1, 10)
        tally.note(str(one.value))
    tally.note("the context is full (4096)")
    report_failures("t", tally)
    lines = capsys.readouterr().err.splitlines()
    assert "2 of 4 failed: image cannot be read: FileNotFoundError (a.png)" in lines[0]
    assert "1 of 4 failed: the context is full (4096)" in lines[1]
    (tmp_path / "torn.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"no known format.* \(torn.png\)"):
        decode(EncodedImage(path=tmp_path / "torn.png"), 1, 10)


def test_agreement_skips_the_runs_that_a_judge_has_not_judged(tmp_path: Path) -> None:
    for judge in ("string_match", "math"):
        stored_run(tmp_path / "runs", spec_of("a", "alpha"), [1.0, 0.0], judge=judge)
    stored_run(tmp_path / "runs", spec_of("b", "alpha"), [1.0, 0.0], judge="math")
    done = here("agreement", tmp_path / "runs", "--judges", "string_match,math")
    assert done.returncode == 75
    assert "equal 100.0 % of 2" in done.stdout
    line = error_line(75, 75, done.stderr)
    assert "not judged by string_match; run: vsr1-bench judge" in line


def test_validate_counts_tasks_on_their_own_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "demo,gsm8k", "--limit", "2", "--offline"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    wanted = "2 of 2 tasks are sound (1 on rows of their data sets, 1 on a generated row)"
    assert last == wanted


def test_columns_and_tasks_that_cannot_be_shown_are_named(tmp_path: Path) -> None:
    made_run(tmp_path)
    done = here("table", tmp_path / "runs", "--columns", "accuracy,f1", "--tasks", "gsm8k,math500")
    assert done.returncode == 0
    assert "not shown: column f1: no score has it; available: accuracy" in done.stderr
    assert "not shown: math500: no scores" in done.stderr


def test_data_that_are_missing_are_named_at_once(tmp_path: Path) -> None:
    from vsr1_bench.data.dataset import DataOptions

    options = RunOptions("tiny", "gsm8k,math500,demo", tmp_path, data=DataOptions(tmp_path))
    with pytest.raises(TaskError, match=r"(?s)data are missing:\n.*gsm8k.*\n.*math500"):
        plan(options)


def test_what_a_judge_lacks_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from vsr1_bench.generation.connect import ConnectOptions, connect_openai
    from vsr1_bench.judge import JUDGE_FLAGS

    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "VSR1_JUDGE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(JudgeMissingError, match=r"_model NAME.*_base_url http.*a key in .*OPENAI"):
        connect_openai(ConnectOptions(JUDGE_FLAGS))


def test_a_run_can_be_taken_out_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for model in ("org/a", "org/b"):
        made_run(tmp_path, model)
    runs, target = find_runs(tmp_path / "runs"), str(tmp_path / "bundle")
    publish(runs, target, PackOptions(progress=False))
    with pytest.raises(UsageError, match="no such run is published there"):
        unpublish(["nobody"], target)
    mine = next(run for run in runs if run.spec().model.id == "org/a")
    assert main(["publish", "--to", target, "--remove", str(mine.path)]) == 0
    assert "without " in capsys.readouterr().err
    (left,) = download(target, tmp_path / "copy", progress=False).new
    assert left.spec().model.id == "org/b"
    assert not any("org" in str(p) and p.name == "a" for p in (tmp_path / "bundle").rglob("*"))
    with pytest.raises(UsageError, match="no run would be left"):
        unpublish([left.path.name], target)
