"""Parquet beside a bundle, so that the hub's viewer shows its samples.

It is made from the packed files, so it contains what the bundle contains: redacted, renamed, and
without what the license or the flags withhold.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from vsr1_bench.errors import DamagedRunError, StoreError
from vsr1_bench.export.images import PublishedImages
from vsr1_bench.export.parquet import write_run
from vsr1_bench.export.samples import ExportedRun
from vsr1_bench.publish.bundle import SUFFIX, BundleRun, Manifest
from vsr1_bench.publish.publishing import PARQUET, parquet_name
from vsr1_bench.publish.unpack import decompress
from vsr1_bench.store.run_folder import RunFolder


def write_parquet(
    folder: Path, packed: Manifest, include_path: Sequence[str] = (), *, progress: bool = True
) -> list[str]:
    """Write the parquet files of packed runs into the folder of their bundle.

    Args:
        folder: Holds the packed files.
        packed: Their manifest.
        include_path: Folders of plug-ins.
        progress: Show bars.

    Returns:
        The paths of the parquet files below the folder.

    Raises:
        StoreError: a file cannot be written.
    """
    written: list[str] = []
    for run in packed.runs:
        with TemporaryDirectory(prefix="vsr1-parquet-", dir=folder) as name:
            plain = _unpacked(folder, packed, run, Path(name))
            images = PublishedImages(plain.path)
            with ExportedRun(plain, images, include_path=include_path) as opened:
                own = parquet_name(run)
                files = _written(opened, folder / PARQUET, own, progress)
            written += [f"{PARQUET}/{path}" for path in files]
    return written


def _written(run: ExportedRun, folder: Path, name: str, progress: bool) -> list[str]:
    try:
        return write_run(run, folder, name, progress=progress)
    except DamagedRunError:
        raise
    except StoreError as error:
        way_out = "give another temporary folder by TMPDIR"
        raise StoreError(
            str(error).replace("give another folder by --output_path", way_out)
        ) from error


def _unpacked(folder: Path, packed: Manifest, run: BundleRun, to: Path) -> RunFolder:
    """A packed run as a run folder."""
    for file in packed.files_of(run):
        inside = file.path.removeprefix(f"{run.path}/")
        target = to / inside.removesuffix(SUFFIX if file.content_size is not None else "")
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.content_size is None:
            shutil.copyfile(folder / file.path, target)
        else:
            decompress(folder / file.path, target, file)
    return RunFolder(to)
