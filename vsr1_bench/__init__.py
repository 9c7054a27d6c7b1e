"""vsr1-bench: does the model see, or does it guess from language?

    from vsr1_bench import evaluate, load_runs

See docs/python.md. The functions are imported on first use, so that the package stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vsr1_bench._util.version import __version__

if TYPE_CHECKING:
    from vsr1_bench.api import Results, evaluate, load_runs

__all__ = ["Results", "__version__", "evaluate", "load_runs"]


def __getattr__(name: str) -> Any:
    if name in ("Results", "evaluate", "load_runs"):
        from vsr1_bench import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
