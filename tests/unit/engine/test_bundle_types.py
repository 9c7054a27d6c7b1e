"""Fields of a bundle's documents: each of another type is refused before it is where runs are."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from bundles import Bundle, made_run

from vsr1_bench.cli.main import main
from vsr1_bench.errors import DamagedRunError, ExchangeError
from vsr1_bench.publish.pack import PackOptions
from vsr1_bench.publish.publishing import publish
from vsr1_bench.publish.unpack import download
from vsr1_bench.store.run_folder import RunFolder

QUIET = PackOptions(progress=False)
META: list[tuple[str, Any]] = [
    ("versions", "x"),
    ("versions", ["vsr1-bench"]),
    ("versions", {"vsr1-bench": 1}),
    ("limit", "abc"),
    ("limit", 2.5),
    ("limit", True),
    ("limit", -1),
    ("backend", {"name": "vllm"}),
    ("created", 20261120),
    ("updated", None),
    ("git", ["a"]),
    ("samples", "12"),
    ("samples", None),
    ("withheld", "answer"),
    ("withheld", [["answer"]]),
    ("spec", []),
    ("spec_hash", 7),
]
SCORE: list[tuple[str, Any]] = [
    ("version", [1]),
    ("judge", None),
    ("prompt", 3),
    ("variant", {}),
    ("metrics", {}),
    ("metrics.accuracy", 0.75),
    ("metrics.accuracy.value", "0.75"),
    ("metrics.accuracy.low", [0]),
    ("metrics.accuracy.n", 1.5),
    ("metrics.accuracy.unit", 3),
    ("rates.total", "12"),
    ("rates.ranked", "yes"),
    ("rates.unparsed", None),
    ("by", {"kind": 1}),
    ("by", {"kind": {"a": {"value": 1}}}),
    ("footnote", 3),
    ("judging", {"models": "m"}),
    ("perception", []),
    ("perception", {"n": 1}),
    ("blind", {"drop": {"spec_hash": 3, "n": 1}}),
    ("verdicts", 5),
]


def put(document: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    found = copy.deepcopy(document)
    *way, last = place.split(".")
    inner = found
    for name in way:
        inner = inner[name]
    inner[last] = value
    return found


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("honest")
    publish([made_run(folder)], str(folder / "bundle"), QUIET)
    return folder / "bundle"


@pytest.mark.parametrize(("place", "value"), META, ids=str)
def test_a_field_of_run_json(honest: Path, tmp_path: Path, place: str, value: Any) -> None:
    refused(honest, tmp_path, "run.json", place, value)


@pytest.mark.parametrize(("place", "value"), SCORE, ids=str)
def test_a_field_of_a_score(honest: Path, tmp_path: Path, place: str, value: Any) -> None:
    refused(honest, tmp_path, "scores/", place, value)


def refused(honest: Path, tmp_path: Path, part: str, place: str, value: Any) -> None:
    shutil.copytree(honest, tmp_path / "bundle")
    bundle = Bundle(tmp_path / "bundle")
    document = put(json.loads(bundle.text(part)), place, value)
    bundle.replace(part, json.dumps(document).encode())
    with pytest.raises(ExchangeError, match=r"refused|spec") as error:
        download(str(bundle.folder), tmp_path / "runs", progress=False)
    said = str(error.value)
    assert "\n" not in said and place.partition(".")[0] in said, said
    assert not list((tmp_path / "runs").glob("*/*/run.json"))


@pytest.mark.parametrize(("place", "value"), [META[0], META[3], META[8]], ids=str)
def test_a_stored_run_with_such_a_field_hides_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str, value: Any
) -> None:
    """As earlier versions downloaded it."""
    bad, good = made_run(tmp_path / "a", "bad"), made_run(tmp_path / "b", "good")
    path = bad.path / "run.json"
    path.write_text(json.dumps(put(json.loads(path.read_text()), place, value)))
    with pytest.raises(DamagedRunError, match=place):
        RunFolder(bad.path).meta()
    assert main(["table", str(bad.path), str(good.path)]) == 75
    said = capsys.readouterr()
    assert "| good" in said.out and f"skipped: {path}" in said.err
