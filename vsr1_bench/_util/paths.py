"""Expand `~` in paths that a user writes; only this module does so.

Shells do not expand it after `=` (`--output_path=~/runs`), inside `a=1,b=2`, or in a TOML file.
`user_path` and `user_text` are argparse types; recipes and backend arguments use them through
pydantic's `BeforeValidator`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from vsr1_bench.errors import UsageError


def user_text(text: Any) -> Any:
    """Expand `~` at the start of a text; any other value is returned unchanged.

    Raises:
        UsageError: `~name`, and this machine has no such user.
    """
    if not isinstance(text, str) or not text.startswith("~"):
        return text
    expanded = os.path.expanduser(text)
    if expanded.startswith("~"):
        name = text.partition("/")[0]
        raise UsageError(f"{text}: {name} is not a user's home here; for a name with ~: ./{text}")
    return expanded


def user_path(text: str) -> Path:
    """A path with `~` expanded."""
    return Path(user_text(text))
