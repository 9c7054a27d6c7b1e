"""How pages and plots look: colours and fonts of the report's viewer, one frame for HTML pages.

The viewer has the same colours in `report/web/src/style.css`; a test compares the two.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

COLOURS = {
    "bg": ("#ffffff", "#141517"),
    "surface": ("#f6f6f7", "#1c1d20"),
    "line": ("#e2e3e6", "#313338"),
    "strong-line": ("#b9bbc1", "#50535a"),
    "text": ("#191a1d", "#e8e8ea"),
    "muted": ("#5b5e66", "#a3a6ae"),
    "focus": ("#0b57a4", "#9cc8f7"),
    "blue": ("#0b62ad", "#6fb1ee"),
    "grey": ("#6a6d75", "#9a9da5"),
}
"""Name → (light, dark)."""
SERIES = ("#0b62ad", "#a84300", "#3c3f46", "#00795c", "#8a4a8f", "#6a6d75")
"""Colours of lines and points on white, in order; people with colour blindness tell them apart."""
FONTS = ("Inter", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "Liberation Sans")
_STEPS = (0.5, 1, 2, 5, 10, 20, 25, 50, 100)
_MOST_STEPS = 10


def css_colours() -> str:
    """The colours as custom properties of CSS, for the light and the dark scheme."""
    return " ".join(f"--{name}: light-dark({a}, {b});" for name, (a, b) in COLOURS.items())


def html_document(
    title: str, body: str, *, style: str, script: str, policy: Mapping[str, str] | None = None
) -> str:
    """Write a page with its style and script inline, which loads nothing.

    The content-security policy knows both by their hashes: markup that gets past the escaping
    still cannot run.

    Args:
        title: Its title, escaped.
        body: Markup.
        style: CSS without `</style`.
        script: JavaScript without `</script`; runs after the body is there.
        policy: Directive → sources to add to the policy.
    """
    rules = {
        "default-src": "'none'",
        "script-src": f"'{_digest(script)}'",
        "style-src": f"'{_digest(style)}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    for name, sources in (policy or {}).items():
        rules[name] = f"{rules.get(name, '')} {sources}".strip()
    written = "; ".join(f"{name} {sources}" for name, sources in rules.items())
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{written}">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
<script>{script}</script>
</body>
</html>
"""


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def axis_range(values: Iterable[float | None], *, least: float = 10) -> tuple[float, float]:
    """A range with round ends that holds the values; percentages stay within 0 to 100.

    Args:
        values: What is drawn, ends of intervals included; None is skipped.
        least: The shortest range: on shorter ones every difference would look large.
    """
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return 0, 100
    low, high = min(known), max(known)
    more = max(0.0, least - (high - low)) / 2
    percentages = low >= 0 and high <= 100
    low, high = low - more, high + more
    if percentages:
        shift = max(0.0, -low) - max(0.0, high - 100)
        low, high = max(0.0, low + shift), min(100.0, high + shift)
    size = high - low
    scale = 1.0 if size >= 1 else 10 ** math.floor(math.log10(size or 1))
    step = scale * next((one for one in _STEPS if size / scale / one <= _MOST_STEPS), 200)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return first * step, max(last, first + 1) * step


@contextmanager
def plot_style() -> Iterator[None]:
    """Give matplotlib's figures the look of the report, as long as the block lasts.

    Raises:
        ImportError: matplotlib is missing.
    """
    import matplotlib
    from cycler import cycler
    from matplotlib.font_manager import get_font_names

    installed = set(get_font_names())
    text, muted, line, strong, white = (
        COLOURS[name][0] for name in ("text", "muted", "line", "strong-line", "bg")
    )
    style = {
        "font.family": [*(name for name in FONTS if name in installed), "DejaVu Sans"],
        "font.size": 9,
        "text.color": text,
        "figure.facecolor": white,
        "figure.titlesize": 11,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlepad": 8,
        "axes.labelcolor": muted,
        "axes.labelsize": 8.5,
        "axes.edgecolor": strong,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.prop_cycle": cycler(color=SERIES),
        "axes.formatter.use_mathtext": True,
        "grid.color": line,
        "grid.linewidth": 0.8,
        "lines.linewidth": 1.5,
        "xtick.color": strong,
        "ytick.color": strong,
        "xtick.labelcolor": muted,
        "ytick.labelcolor": muted,
        "xtick.labelsize": 8.5,
        "ytick.labelsize": 8.5,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        # Text in an SVG stays text, and the file is the same each time.
        "svg.fonttype": "none",
        "svg.hashsalt": "vsr1-bench",
    }
    with matplotlib.rc_context(style):
        yield
