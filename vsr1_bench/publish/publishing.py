"""`publish`: add a bundle to a remote, beside what is published there already."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from vsr1_bench.publish.bundle import MANIFEST, MAX_MANIFEST, BundleRun, Manifest, read_manifest
from vsr1_bench.publish.folders import PART
from vsr1_bench.publish.pack import PackOptions, pack
from vsr1_bench.publish.remote import NotThereError, Remote, Upload
from vsr1_bench.publish.remotes import open_remote
from vsr1_bench.store.run_folder import RunFolder

log = logging.getLogger(__name__)

PARQUET, CARD = "parquet", "README.md"
"""Beside a bundle: the folder of its samples for the hub's viewer, and the page about them."""
MAX_CARD = 1 << 20
CONFIGS = "configs: [{}, {}]".format(
    *(
        f"{{config_name: {name}, data_files: [{{split: test, path: {PARQUET}/{name}/*.parquet}}]}}"
        for name in ("samples", "scores")
    )
)
"""The line of YAML by which the hub's viewer finds the samples."""
CARD_TEXT = f"""---
{CONFIGS}
---

Runs of vsr1-bench. `vsr1-bench download` fetches and checks them. `manifest.json` names the license
of each benchmark.
"""
WriteBeside = Callable[[Path, Manifest], Sequence[str]]
"""Writes files into the folder of a packed bundle; returns their paths below it."""


def publish(
    runs: Sequence[RunFolder],
    target: str,
    options: PackOptions,
    write_parquet: WriteBeside | None = None,
) -> tuple[str, Manifest]:
    """Pack runs and upload them to a remote; runs that are published there already stay.

    Args:
        runs: Stored runs.
        target: `hf://datasets/ORG/NAME[@BRANCH]`, `file://FOLDER`, or a folder.
        options: What to include.
        write_parquet: Writes parquet from the packed files; None = no parquet. Earlier parquet of
            the same runs is removed in either case, since it may say more than the new bundle.

    Returns:
        Where it went (a hub address names the commit), and the manifest as it is there.

    Raises:
        UsageError: the license forbids gold answers or images, or the remote cannot be written.
        ExchangeError: something must not be published, or the remote refuses.
        StoreError: a run cannot be read.
    """
    remote = open_remote(target)
    with tempfile.TemporaryDirectory(prefix="vsr1-publish-") as name:
        folder = Path(name)
        packed = pack(runs, folder, options)
        beside = [] if write_parquet is None else list(write_parquet(folder, packed))
        with remote.writing():
            there = _listing(remote)
            known = _published(remote, folder, there)
            stale = [name for name in there if _is_parquet_of(packed.runs, name)]
            if beside and not _has_card(remote, folder, there):
                (folder / CARD).write_text(CARD_TEXT, "utf-8")
                beside.append(CARD)
            ours = {run.path for run in packed.runs}
            kept = [run for run in known.runs if run.path not in ours] if known else []
            staying = [file for run in kept for file in known.files_of(run)] if known else []
            manifest = packed.model_copy(
                update={
                    "root": remote.next_root(known),
                    "runs": (*kept, *packed.runs),
                    "files": (*staying, *packed.files),
                }
            )
            (folder / MANIFEST).write_text(manifest.text(), "utf-8")
            read_manifest((folder / MANIFEST).read_bytes(), "this bundle")
            plural = "s" if len(packed.runs) > 1 else ""
            note = f"Publish {len(packed.runs)} run{plural} of vsr1-bench"
            paths = [file.path for file in packed.files]
            went = remote.push(Upload(folder, manifest, paths, known, note, beside, stale))
    return went, manifest


def parquet_name(run: BundleRun) -> str:
    """The name, without suffix, of a run's parquet files."""
    return "--".join(PurePosixPath(run.path).parts[1:])


def _is_parquet_of(runs: Sequence[BundleRun], name: str) -> bool:
    path = PurePosixPath(name.removesuffix(PART))  # a killed publish leaves such a file
    return path.parts[:1] == (PARQUET,) and path.stem in map(parquet_name, runs)


def _listing(remote: Remote) -> Sequence[str]:
    try:
        return remote.listing() or ()
    except NotThereError:  # publishing creates it
        return ()


def _published(remote: Remote, folder: Path, there: Sequence[str]) -> Manifest | None:
    """The current manifest of a remote; None = there is none."""
    if MANIFEST not in there:
        return None
    text = _fetched(remote, MANIFEST, folder, MAX_MANIFEST)
    return read_manifest(text, f"{remote.name}/{MANIFEST}")


def _has_card(remote: Remote, folder: Path, there: Sequence[str]) -> bool:
    """Whether the remote has a page of its own, which stays; warns if that hides the parquet."""
    if CARD not in there:
        return False
    text = _fetched(remote, CARD, folder, MAX_CARD).decode("utf-8", "replace")
    if f"{PARQUET}/samples" not in text:
        log.warning(
            "%s: its %s stays as it is; so that the hub shows the samples, add to its head: %s",
            remote.name,
            CARD,
            CONFIGS,
        )
    return True


def _fetched(remote: Remote, name: str, folder: Path, most: int) -> bytes:
    target = folder / "known.part"
    remote.fetch(name, target, None, most, lambda _: None)
    text = target.read_bytes()
    target.unlink()
    return text
