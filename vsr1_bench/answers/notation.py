r"""Rewrite formulas into one notation: plain text without LaTeX, and the dialects of LaTeX.

`2√2`, `2sqrt(2)` and `2 \sqrt 2` are the same formula, and so are `½` and `\frac12`, `10⁶` and
`10^{6}`, `\varnothing` and `\emptyset`. A parser that skips a sign that it does not know would read
another formula: `understood` says whether every sign is one that is known.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from vsr1_bench.answers.normalize import MAX_ANSWER, fold

_SUPER = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿⁱ⁽⁾ᵃᵇᵏᵐˣʸ", "0123456789+-ni()abkmxy", strict=True))
_SUB = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋ₐₑₙₓᵢⱼₖₘ", "0123456789+-aenxijkm", strict=True))
_RAISED = re.compile(f"[{''.join(_SUPER)}]+")
_LOWERED = re.compile(f"[{''.join(_SUB)}]+")
VULGAR = {
    "½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅖": "2/5",
    "⅗": "3/5", "⅘": "4/5", "⅙": "1/6", "⅚": "5/6", "⅐": "1/7", "⅛": "1/8", "⅜": "3/8",
    "⅝": "5/8", "⅞": "7/8", "⅑": "1/9", "⅒": "1/10",
}  # fmt: skip
_GREEK = dict(
    zip(
        "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩϕϵϑ",
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau "
        "upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega varphi "
        "varepsilon vartheta".split(),
        strict=True,
    )
)
_SIGNS = {
    "×": r"\times", "÷": "/", "·": r"\cdot", "⋅": r"\cdot", "∙": r"\cdot", "•": r"\cdot",
    "∗": "*", "⁄": "/", "∕": "/", "∶": ":", "∞": r"\infty", "≤": r"\leq", "≥": r"\geq",  # noqa: RUF001
    "⩽": r"\leq", "⩾": r"\geq", "≠": r"\neq", "≈": r"\approx", "≃": r"\approx", "≡": r"\equiv",
    "∪": r"\cup", "∩": r"\cap", "∈": r"\in", "∉": r"\notin", "⊂": r"\subset", "∖": r"\setminus",  # noqa: RUF001
    "∅": r"\emptyset", "⌀": r"\emptyset", "±": r"\pm", "∓": r"\mp", "∠": r"\angle",
    "△": r"\triangle", "⟨": r"\langle", "⟩": r"\rangle", "ℝ": r"\mathbb{R}",  # noqa: RUF001
    "→": r"\to", "⊥": r"\perp", "∥": r"\parallel", "∼": r"\sim", "∑": r"\sum", "∫": r"\int",  # noqa: RUF001
    "⌊": r"\lfloor", "⌋": r"\rfloor", "⌈": r"\lceil", "⌉": r"\rceil", "…": r"\ldots",
}  # fmt: skip
_SPELT = {
    **{sign: f"{command} " for sign, command in _SIGNS.items() if command.startswith("\\")},
    **{sign: plain for sign, plain in _SIGNS.items() if not plain.startswith("\\")},
    **{letter: f"\\{name} " for letter, name in _GREEK.items()},
    **{sign: "\\frac{{{}}}{{{}}}".format(*value.split("/")) for sign, value in VULGAR.items()},
    **dict.fromkeys("°º˚", r"^{\circ}"),
}
_TABLE = str.maketrans(_SPELT)
_FUNCTIONS = (
    "arcsin arccos arctan sinh cosh tanh sin cos tan cot sec csc log ln lg exp pi theta alpha beta "
    "gamma lambda omega"
).split()
_BARE_FUNCTION = re.compile(rf"(?<![\\A-Za-z])({'|'.join(_FUNCTIONS)})(?![A-Za-z])")
_BARE_INFINITY = re.compile(r"(?<![\\A-Za-z])(?:infinity|infty|inf)(?![A-Za-z])", re.IGNORECASE)
_ROOTS = {"√": "", "∛": "[3]", "∜": "[4]"}
_ROOT = re.compile(r"[√∛∜]|(?<![\\A-Za-z])(?:sqrt|cbrt)(?![A-Za-z])")
_MOST_ROOTS = 40
_ROOT_OF = re.compile(r"\s?(\d+(?:\.\d+)?|\\[A-Za-z]+|[A-Za-z])")

_DIALECT = tuple(
    (re.compile(pattern), plain)
    for pattern, plain in (
        (r"\\\\(?=[A-Za-z])", r"\\"),  # JSON that was escaped twice
        (r"\{,\}|,\\!", ","),
        (r"\\(?:left|right|bigg?|Bigg?|middle)(?![A-Za-z])[lr]?\.?", ""),
        (r"\\(?:big|Big|bigg|Bigg)[lr](?![A-Za-z])", ""),
        (r"\\(?:displaystyle|textstyle|limits|nolimits|strut|rm|bf|it)(?![A-Za-z])", ""),
        (r"\\!", ""),
        (r"(?<!\\)\\[,;:> ]|\\q?quad(?![A-Za-z])|\\(?:thin|med|thick)?space(?![A-Za-z])|~", " "),
        (r"\\[()\[\]]|\$", " "),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\[dt]binom(?![A-Za-z])", r"\\binom"),
        (r"\\(?:varnothing|O)(?![A-Za-z])|\\\{\s*\\\}|\\lbrace\s*\\rbrace", r"\\emptyset "),
        (r"\\le(?:qslant|qq)?(?![A-Za-z])", r"\\leq "),
        (r"\\ge(?:qslant|qq)?(?![A-Za-z])", r"\\geq "),
        (r"\\ne(?:q)?(?![A-Za-z])|\\not\s?=", r"\\neq "),
        (r"\\(?:simeq|approxeq|doteq)(?![A-Za-z])", r"\\approx "),
        (r"\\lbrace(?![A-Za-z])", r"\\{"),
        (r"\\rbrace(?![A-Za-z])", r"\\}"),
        (r"\\[lr]vert(?![A-Za-z])|\\vert(?![A-Za-z])", "|"),
        (r"\\(?:ast|star)(?![A-Za-z])", "*"),
        (r"\\colon(?![A-Za-z])", ":"),
        (r"\\degree(?![A-Za-z])|\^\s?\{?\s?\\circ\s?\}?|\\textdegree(?![A-Za-z])", r"^{\\circ}"),
        (r"\\prime(?![A-Za-z])", "'"),
        (r"\\(?:d?dots|cdots|dotsc)(?![A-Za-z])", r"\\ldots "),
    )
)
_STYLE = re.compile(
    r"\\(?:mathrm|mathbf|mathit|mathsf|mathtt|mathnormal|boldsymbol|bm|operatorname\*?|emph"
    r"|textbf|textit|textrm|texttt|textnormal|underline|boxed|fbox|mbox)\s?\{([^{}]*)\}"
)
_TEXT_AND = re.compile(r"\\text\s?\{\s*,?\s*(?:and|or)\s*\}")
_SPACES = re.compile(r"\s+")
_REPEATING = re.compile(
    r"(?<![\d.])(\d*)\.(\d*)(?:\\(?:overline|bar|dot)\s?\{(\d+)\}|\((\d+)\)(?!\d)|((?:\d\u0305)+))"
)
_SCIENTIFIC = re.compile(r"(?<=\d)[eE]([-+]?\d{1,4})(?![\w.])")
_LOG = re.compile(r"\\log\s?_\s?(?:\{([^{}]*)\}|(\w))\s*")
_BASE = re.compile(
    r"(?<![\w.])\(?(-?(?=[A-F]{0,20}\d)[0-9A-F]{1,60})\)?\s?(?:_\s?\{?\s?"
    r"(?:\\text\s?\{\s?)?(?:base\s?)?\}?\s?|\\text\s?\{\s?\(?\s?(?:in\s)?base\s?)\(?(\d{1,2}|[a-z]+)\)?"
    r"\s?\}?\s?\}?(?!\w)"
)
_TEXT_DIGITS = re.compile(r"\\text\s?\{\s*(-?[0-9][0-9.,]*|[0-9A-F]+(?=\}\s?_))\s*\}")
_WORD_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
               "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "sixteen": 16}  # fmt: skip


def to_latex(text: str) -> str:
    r"""Write a formula in one dialect of LaTeX; the empty string if it is too long for an answer.

    The value is kept: no sign is dropped, and what is not known stays as it is.
    """
    return _to_latex(text) if len(text) <= MAX_ANSWER else ""


@lru_cache(maxsize=4096)
def _to_latex(text: str) -> str:
    text = _thin_thousands(text)
    text = repeating(fold(text.replace("\u211d", r"\mathbb{R}")))
    text = _RAISED.sub(lambda m: "^{" + "".join(_SUPER[c] for c in m[0]) + "}", text)
    text = _LOWERED.sub(lambda m: "_{" + "".join(_SUB[c] for c in m[0]) + "}", text)
    text = text.translate(_TABLE)
    for pattern, plain in _DIALECT:
        text = pattern.sub(plain, text)
    text = _TEXT_DIGITS.sub(r"\1", _TEXT_AND.sub(" , ", text))
    for _ in range(3):
        text, changed = _STYLE.subn(r"\1", text)
        if not changed:
            break
    text = _BARE_INFINITY.sub(r"\\infty ", text)
    text = _roots(text)
    text = _BARE_FUNCTION.sub(r"\\\1 ", text)
    text = _SCIENTIFIC.sub(r"\\cdot 10^{\1}", text)
    text = _arguments(_LOG.sub(_log, text))
    return _SPACES.sub(" ", text).strip()


def written(text: str) -> str:
    r"""The form in which two formulas are the same as written: no space, no needless brace."""
    return _written(to_latex(text))


@lru_cache(maxsize=4096)
def _written(latex: str) -> str:
    plain = latex.rstrip(" .")
    plain = re.sub(r"\s*\\(?:cdot|times)\s*|\s*\*\s*", "*", plain)
    plain = re.sub(r"(?<=[\w})])\*(?=\\[A-Za-z]|\()|(?<=\d)\*(?=[A-Za-z])", "", plain)
    plain = re.sub(r"(?<![A-Za-z0-9.,])\s|\s(?![A-Za-z0-9.,])", "", plain)
    plain = re.sub(r"(?<=[,;])\s|(?<=\d)\s(?=[A-Za-z](?![A-Za-z]))", "", plain)
    return re.sub(r"(?<=[\^_])\{(\w)\}", r"\1", plain)


def read_base(text: str) -> tuple[str, int] | None:
    r"""A number in a base of its own (`52_{8}`, `(101)_2`, `7A_{16}`): its digits and the base."""
    found = _BASE.fullmatch(to_latex(text).strip(" ."))
    if found is None:
        return None
    base = int(found[2]) if found[2].isdigit() else _WORD_BASES.get(found[2], 0)
    return (found[1].lstrip("0") or "0", base) if base else None


_COMMAND = re.compile(r"\\([A-Za-z]+|.)", re.DOTALL)
_KNOWN = frozenset(
    "frac sqrt binom pi times cdot div pm log ln lg exp sin cos tan cot sec csc arcsin arccos "
    "arctan sinh cosh tanh infty cup cap in setminus emptyset leq geq lt gt neq approx circ angle "
    "triangle lfloor rfloor lceil rceil sum int prod overline bar vec hat langle rangle "
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi "
    "rho sigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi "
    "Omega mathbb begin end { } % \\".split()
)
_MATRIX = re.compile(r"\\begin\s?\{([pbvBV]?matrix|array)\}")
_ODD = re.compile(r"[^\sA-Za-z0-9+\-*/^_{}()\[\]|!=<>,.;\\%&]")
# `1 2` would be added up, `--5` cancelled, and a base dropped.
_MISREAD = re.compile(r"\d\s+\d|\d_\{?\d|-\s?-|\+\s?-|\d\s+\.|\.\s|\.\.|\\text|\\\\(?=[A-Za-z])")


def understood(latex: str) -> bool:
    """Whether a parser that skips what it does not know meets only signs that are known."""
    matrix = bool(_MATRIX.search(latex))
    if _ODD.search(latex) or ("&" in latex and not matrix):
        return False
    if any(m[1] not in _KNOWN or (m[1] == "\\" and not matrix) for m in _COMMAND.finditer(latex)):
        return False
    return matrix or not _MISREAD.search(latex)


def _thin_thousands(text: str) -> str:
    """Join groups of three digits that a thin or a hard space separates."""
    space = r"(?:\\[,;: !]|[~\u00a0\u2007\u2009\u202f\u2008\u200a'\u2019])"
    pattern = rf"(?<![\d.,\\])\d{{1,3}}(?:{space}\d{{3}})+(?!\d)"
    return re.sub(pattern, lambda m: re.sub(r"\D", "", m[0]), text)


def repeating(text: str) -> str:
    r"""`0.\overline{3}`, `0.1(6)`: the fraction."""

    def fraction(found: re.Match[str]) -> str:
        whole, fixed = found[1] or "0", found[2]
        period = found[3] or found[4] or re.sub(r"\D", "", found[5])
        if len(found[0]) > 60:
            return found[0]
        nines = 10 ** len(period) - 1
        value = Fraction(int(whole + fixed), 10 ** len(fixed))
        value += Fraction(int(period), nines * 10 ** len(fixed))
        return f"\\frac{{{value.numerator}}}{{{value.denominator}}}"

    return _REPEATING.sub(fraction, text)


def _roots(text: str) -> str:
    r"""`√2`, `√(x+1)`, `√{3}`, `sqrt(2)`: `\sqrt{…}`."""
    done: list[str] = []
    start = 0
    while len(done) <= _MOST_ROOTS and (found := _ROOT.search(text, start)):
        degree = "[3]" if found[0] == "cbrt" else _ROOTS.get(found[0], "")
        inside, end = _argument(text, found.end())
        if inside is None:
            done.append(text[start : found.end()])
            start = found.end()
            continue
        done.append(f"{text[start : found.start()]}\\sqrt{degree}")
        text = "{" + inside + "}" + text[end:]
        start = 0
    return "".join(done) + text[start:]


def _argument(text: str, start: int) -> tuple[str | None, int]:
    """What a root covers: a group, a number, or one letter; and where it ends."""
    at = start + (len(text) > start and text[start] == " ")
    opening = text[at : at + 1]
    if opening in ("(", "{"):
        closing = {"(": ")", "{": "}"}[opening]
        depth = 0
        for i in range(at, len(text)):
            depth += (text[i] == opening) - (text[i] == closing)
            if not depth:
                return text[at + 1 : i], i + 1
        return None, start
    found = _ROOT_OF.match(text, start)
    return (found[1], found.end()) if found else (None, start)


_TOKEN = r"(\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}|\d|[A-Za-z]|\\(?!text)[A-Za-z]+)"
_TWO = re.compile(rf"\\(frac|binom)\s*{_TOKEN}\s*{_TOKEN}")
_ONE = re.compile(rf"\\sqrt\s*(\[[^\[\]]*\])?\s*(?:(\d+)|{_TOKEN})")


def _arguments(text: str) -> str:
    r"""`\frac12`, `\frac 1{2}`, `\sqrt3`, `\sqrt[3] 8`: with braces."""

    def group(token: str) -> str:
        return token if token.startswith("{") else "{" + token + "}"

    text = _TWO.sub(lambda m: f"\\{m[1]}{group(m[2])}{group(m[3])}", text)
    return _ONE.sub(lambda m: f"\\sqrt{m[1] or ''}{group(m[2] or m[3])}", text)


def _log(found: re.Match[str]) -> str:
    return f"\\log_{{{found[1] if found[1] is not None else found[2]}}} "
