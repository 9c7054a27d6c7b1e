"""Stored visual dependences: how much each response depends on the image (`--visual_dependence`).

They are in `dependences.jsonl` beside `generations.jsonl`, one line per response, by the same key.
"""

from __future__ import annotations

from functools import partial

from vsr1_bench._util.garbage import without_gc
from vsr1_bench.errors import DamagedRunError, StoreError
from vsr1_bench.records import Dependence
from vsr1_bench.store.lines import read_records, record_as
from vsr1_bench.store.run_folder import RunFolder


@without_gc()
def read_dependences(run: RunFolder) -> dict[str, Dependence]:
    """Key of a response -> its dependence; a failed one never replaces another.

    Raises:
        StoreError: a journal is damaged, or of another version.
    """
    found: dict[str, Dependence] = {}
    try:
        for journal in sorted(run.path.glob("dependences*.jsonl")):
            for record in read_records(journal, partial(record_as, Dependence)):
                known = found.get(record.key)
                if known is None or known.error is not None or record.error is None:
                    found[record.key] = record
    except DamagedRunError:
        raise
    except StoreError as error:
        raise DamagedRunError(str(error), run.path) from error
    return found
