"""Whether a license allows publishing gold answers, images and questions.

The list is short on purpose. It has licenses that let anybody copy and redistribute, and require
only that the license and the authors are named (a bundle's manifest names both). Share-alike,
non-commercial and no-derivatives licenses may allow it, too, but put conditions on the recipient.
If no license is stated, nothing is allowed.
"""

from __future__ import annotations

ALLOWED = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "CC-BY-4.0",
        "CC0-1.0",
        "MIT",
        "ODC-BY-1.0",
        "PDDL-1.0",
    }
)


def may_hand_on(license_name: str) -> bool:
    """Whether content under this license (an SPDX identifier, as a task states it) may be."""
    return license_name in ALLOWED
