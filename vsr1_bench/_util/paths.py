"""Expand `~` in paths that a user writes; this happens only here.

No shell expands it behind `=` (`--output_path=~/runs`), inside `a=1,b=2`, or in a TOML file, and a
folder called `~` is nobody's wish. `user_path` and `user_text` are argparse types; recipes and
backend arguments take them by pydantic's `BeforeValidator`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def user_text(text: Any) -> Any:
    """Expand `~` at the start of a text; everything else comes back as it was."""
    return os.path.expanduser(text) if isinstance(text, str) and text.startswith("~") else text


def user_path(text: str) -> Path:
    """A path as a user writes it."""
    return Path(user_text(text))
