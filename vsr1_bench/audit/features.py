"""What a forest sees of an item: its wording, without image, answer or category."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsr1_bench.audit.items import Item, normal

WORDS = 256
"""Words and pairs of words of the questions; the most frequent ones."""
OPTION_WORDS = 128
"""Words of the options at their position."""
POSITIONS = 10
"""Options beyond this position have no features of their own."""
TOKEN = r"[^\W_]+|[^\w\s]"
_NEGATED = re.compile(r"\b(not|n't|never|no|except|false|incorrect)\b")
_NUMBER = re.compile(r"-?\d+(?:[.,]\d+)*")

Features = NDArray[np.float32]


def features_of(items: Sequence[Item]) -> tuple[Features, list[str]]:
    """Features of each item, (N, F), and their names (F,).

    The vocabulary is chosen by frequency over all items, without their answers.
    """
    forms = {form: number for number, form in enumerate(sorted({item.form for item in items}))}
    questions = [normal(item.question) for item in items]
    plain = [
        [forms[i.form], len(i.options), len(i.images), *_shape(q)]
        for i, q in zip(items, questions, strict=True)
    ]
    blocks: list[Any] = [np.asarray(plain, np.float32)]
    names = ["form", "number of options", "number of images", *_SHAPE]
    words, found = _counts(questions, WORDS, (1, 2))
    blocks.append(words)
    names += [f"question: {word}" for word in found]
    if any(item.options for item in items):
        blocks.append(np.asarray([_option_shape(item) for item in items], np.float32))
        names += [f"option {p + 1}: {what}" for p in range(POSITIONS) for what in _OPTION_SHAPE]
        placed = [_placed_words(item) for item in items]
        words, found = _counts(placed, OPTION_WORDS, (1, 1), r"\S+")
        blocks.append(words)
        names += [f"option {word.replace('=', ': ', 1)}" for word in found]
    table = np.concatenate(blocks, axis=1)
    varying = table.min(axis=0) < table.max(axis=0)
    return table[:, varying], [name for name, kept in zip(names, varying, strict=True) if kept]


def _counts(
    texts: Sequence[str], most: int, ngrams: tuple[int, int], token: str = TOKEN
) -> tuple[Features, list[str]]:
    """Which of the most frequent words each text has, (N, W), and the words."""
    from sklearn.feature_extraction.text import CountVectorizer

    vectorizer = CountVectorizer(
        binary=True, max_features=most, ngram_range=ngrams, token_pattern=token, dtype=np.float32
    )
    try:
        counts = vectorizer.fit_transform(texts)
    except ValueError:  # no text has a word
        return np.zeros((len(texts), 0), np.float32), []
    return counts.toarray(), list(vectorizer.get_feature_names_out())


_SHAPE = ("characters", "words", "numbers in the question", "first number", "negation")
_OPTION_SHAPE = ("characters", "rank by length", "rank by number", "words of the question in it")


def _shape(question: str) -> list[float]:
    numbers = _NUMBER.findall(question)
    return [
        len(question),
        len(question.split()),
        len(numbers),
        _value(numbers[0]) if numbers else -1,
        _NEGATED.search(question) is not None,
    ]


def _value(text: str) -> float:
    """A number, of a size that float32 holds."""
    digits = text.replace(",", "")
    try:
        return min(max(float(digits), -1e30), 1e30)
    except ValueError:  # 1.2.3
        return -1.0


def _option_shape(item: Item) -> list[float]:
    """Four numbers for each position, -1 where there is no option."""
    asked = set(item.question.casefold().split())
    options = item.options[:POSITIONS]
    lengths = [len(option) for option in options]
    values = [
        _value(found[0]) if (found := _NUMBER.findall(option)) else None for option in options
    ]
    known = [value for value in values if value is not None]
    row: list[float] = []
    for option, length, value in zip(options, lengths, values, strict=True):
        row += [
            length,
            sum(other < length for other in lengths),
            -1 if value is None else sum(other < value for other in known),
            len(asked & set(option.casefold().split())),
        ]
    return row + [-1.0] * (len(_OPTION_SHAPE) * POSITIONS - len(row))


def _placed_words(item: Item) -> str:
    """The words of the options, each with its position: `1=none 1=of 2=both`."""
    return " ".join(
        f"{place}={word}"
        for place, option in enumerate(item.options[:POSITIONS], start=1)
        for word in re.findall(TOKEN, option.casefold())
    )
