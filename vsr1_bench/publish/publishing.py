"""`publish`: add a bundle to a remote, beside what is published there already."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from vsr1_bench.publish.bundle import MANIFEST, MAX_MANIFEST, Manifest, read_manifest
from vsr1_bench.publish.pack import PackOptions, pack
from vsr1_bench.publish.remote import NotThereError, Remote, Upload
from vsr1_bench.publish.remotes import open_remote
from vsr1_bench.store.run_folder import RunFolder


def publish(runs: Sequence[RunFolder], target: str, options: PackOptions) -> tuple[str, Manifest]:
    """Pack runs and upload them to a remote; runs that are published there already stay.

    Args:
        runs: Stored runs.
        target: `hf://datasets/ORG/NAME[@BRANCH]`, `file://FOLDER`, or a folder.
        options: What to include.

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
        with remote.writing():
            known = _published(remote, folder)
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
            went = remote.push(Upload(folder, manifest, paths, known, note))
    return went, manifest


def _published(remote: Remote, folder: Path) -> Manifest | None:
    """The current manifest of a remote; None = there is none."""
    try:
        if MANIFEST not in (remote.listing() or ()):
            return None
    except NotThereError:  # it is made
        return None
    target = folder / "known.json"
    remote.fetch(MANIFEST, target, None, MAX_MANIFEST, lambda _: None)
    text = target.read_bytes()
    target.unlink()
    return read_manifest(text, f"{remote.name}/{MANIFEST}")
