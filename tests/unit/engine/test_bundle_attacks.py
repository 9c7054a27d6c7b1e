"""Bundles made to harm: each is refused in one line, and nothing of it gets where runs are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from bundles import ATTACKS, Attack, Bundle, attack_table, files_below, made_run
from tree import ROOT

from vsr1_bench.errors import ExchangeError
from vsr1_bench.publish.pack import PackOptions
from vsr1_bench.publish.publishing import publish
from vsr1_bench.publish.unpack import download

QUIET = PackOptions(progress=False)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("honest")
    publish([made_run(folder)], str(folder / "bundle"), QUIET)
    return folder / "bundle"


def test_the_honest_bundle_is_taken(honest: Path, tmp_path: Path) -> None:
    found = download(str(honest), tmp_path / "runs", progress=False)
    assert [run.path.name[:6] for run in found.new] == ["gsm8k-"]
    assert not (tmp_path / "runs/.download").exists()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_is_refused(attack: Attack, honest: Path, tmp_path: Path) -> None:
    shutil.copytree(honest, tmp_path / "there/bundle")
    attack.spoil(Bundle(tmp_path / "there/bundle"))
    before = files_below(tmp_path)
    with pytest.raises(ExchangeError) as refused:
        download(str(tmp_path / "there/bundle"), tmp_path / "here/runs", progress=False)
    said = str(refused.value)
    assert attack.said in said and "\n" not in said and len(said) < 500
    # What was fetched before it was refused lies under its hash in the staging folder, no more.
    left = [name for name in files_below(tmp_path) if name not in before]
    assert [name for name in left if not name.startswith("here/runs/.download/")] == []
    assert all(len(Path(name).name) == 64 or name.endswith("/.lock") for name in left)


def test_the_table_of_the_documentation() -> None:
    table = attack_table({attack.name: f"refused: “{attack.said}”" for attack in ATTACKS})
    print(table)
    assert len(ATTACKS) >= 12
    assert table in (ROOT / "docs/exchange.md").read_text("utf-8")
