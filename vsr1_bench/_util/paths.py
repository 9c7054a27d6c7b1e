"""Expand `~` in paths that a user writes; this happens only here.

No shell expands it behind `=` (`--output_path=~/runs`), inside `a=1,b=2`, or in a TOML file, and a
folder called `~` is nobody's wish. `user_path` and `user_text` are argparse types; recipes and
backend arguments take them by pydantic's `BeforeValidator`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from vsr1_bench.errors import UsageError


def user_text(text: Any) -> Any:
    """Expand `~` at the start of a text; everything else comes back as it was.

    Raises:
        UsageError: `~name` of nobody on this machine.
    """
    if not isinstance(text, str) or not text.startswith("~"):
        return text
    expanded = os.path.expanduser(text)
    if expanded.startswith("~"):
        name = text.partition("/")[0]
        raise UsageError(f"{text}: {name} is no user's home here; for a name with ~: ./{text}")
    return expanded


def user_path(text: str) -> Path:
    """A path as a user writes it."""
    return Path(user_text(text))
