"""`publish`: add a bundle to a remote, beside what is published there already."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from vsr1_bench.errors import ExchangeError, UsageError, nearest
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


def unpublish(names: Sequence[str], target: str) -> tuple[str, list[str]]:
    """Take runs out of a remote; the others stay as they are.

    Args:
        names: Each the path of a run in the bundle, its folder's name, or the name of a local run
            folder with that name.
        target: Where they are published.

    Returns:
        Where the others are, and the paths that are gone.

    Raises:
        UsageError: a name is no run there, or no run would be left.
        ExchangeError: nothing is published there, or the remote cannot be written.
    """
    remote = open_remote(target)
    with tempfile.TemporaryDirectory(prefix="vsr1-publish-") as name, remote.writing():
        folder = Path(name)
        there = _listing(remote)
        known = _published(remote, folder, there)
        if known is None:
            raise ExchangeError(f"{remote.name}: nothing of vsr1-bench is published there")
        gone = [_named(one, known) for one in names]
        kept = [run for run in known.runs if run not in gone]
        if not kept:
            raise UsageError(
                f"{remote.name}: no run would be left; delete the repository or the folder instead"
            )
        manifest = known.model_copy(
            update={
                "root": remote.next_root(known),
                "runs": tuple(kept),
                "files": tuple(file for run in kept for file in known.files_of(run)),
            }
        )
        (folder / MANIFEST).write_text(manifest.text(), "utf-8")
        paths = list(dict.fromkeys(run.path for run in gone))
        stale = [name for name in there if _is_parquet_of(gone, name)]
        plural = "s" if len(paths) > 1 else ""
        note = f"Remove {len(paths)} run{plural} of vsr1-bench"
        return remote.push(Upload(folder, manifest, [], known, note, (), stale)), paths


def _named(name: str, known: Manifest) -> BundleRun:
    """The only published run with this path or folder name.

    Raises:
        UsageError: there is none, or several.
    """
    parts = PurePosixPath(Path(name).as_posix()).parts
    for size in (len(parts), 2, 1):  # the whole path, MODEL/RUN, RUN
        end = parts[-size:]
        found = [run for run in known.runs if PurePosixPath(run.path).parts[-len(end) :] == end]
        if len(found) == 1:
            return found[0]
        if found:
            paths = ", ".join(run.path for run in found)
            raise UsageError(f"--remove {name}: several runs have this name: {paths}")
    there = tuple(run.path for run in known.runs)
    raise UsageError(f"--remove {name}: no such run is published there; {nearest(name, there)}")


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
