"""How much memory this machine has for processes like this one."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Files with a container's limit in bytes, or `max`; versions 2 and 1 of cgroups."""


def host_memory() -> int:
    """Bytes of memory of this machine, or of the container if its limit is lower."""
    sizes = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for limit in LIMITS:
        with suppress(OSError, ValueError):  # no such file, or `max`
            sizes.append(int(limit.read_text("utf-8")))
    return min(sizes)


def local_share() -> int:
    """`host_memory` of each of the ranks that torchrun has started on this machine."""
    return host_memory() // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
