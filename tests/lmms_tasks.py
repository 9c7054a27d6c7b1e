"""lmms-eval's own task files, copied and pointed at data made on the spot."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_WORDS = "biology business chemistry economics engineering health history law math other"
SUBJECTS = [*_WORDS.split(), "philosophy", "physics", "psychology", "computer science"]


def their_tasks() -> Path:
    """Where lmms-eval keeps its tasks."""
    found = find_spec("lmms_eval")
    assert found is not None and found.submodule_search_locations
    return Path(next(iter(found.submodule_search_locations))) / "tasks"


def image(number: int) -> Any:
    """A small picture, another one for each number."""
    from PIL import Image

    made = random.Random(number)
    return Image.frombytes("RGB", (40, 30), bytes(made.randrange(256) for _ in range(3600)))


def pope_row(n: int) -> dict[str, Any]:
    asked = f"Is there a {random.Random(n).choice(['dog', 'cat'])} in picture {n}?"
    gold = ("yes", "no")[n % 2]
    return {"question_id": str(n), "question": asked, "answer": gold, "image": image(n)}


def ai2d_row(n: int) -> dict[str, Any]:
    options = [f"part {n}-{i}" for i in range(4)]
    return {
        "question": f"Which part is {n}?",
        "options": options,
        "answer": str(n % 4),
        "image": image(n),
    }


def muir_row(n: int) -> dict[str, Any]:
    return {
        "idx": str(n),
        "task": ("Counting", "Ordering")[n % 2],
        "image_relation": "Scene",
        "image_type": "Photo",
        "question": f"<image> and <image>: which is {n}?",
        "options": ["the first", "the second", "none"],
        "answer": "ABC"[n % 3],
        "image_list": [image(2 * n), image(2 * n + 1)],
    }


def mmlu_row(n: int) -> dict[str, Any]:
    # Subjects of unequal size: a weighted mean is not the plain one.
    subject = SUBJECTS[min(n % 17, len(SUBJECTS) - 1)]
    options = [f"value {n * i}" for i in range(1, 11)]
    return {
        "question_id": n,
        "question": f"What is {n} times {n % 10 + 1}?",
        "options": options,
        "answer": "ABCDEFGHIJ"[n % 10],
        "answer_index": n % 10,
        "category": subject,
        "cot_content": f"A: Let's think step by step. The answer is ({'ABCDEFGHIJ'[n % 10]}).",
    }


def gsm8k_row(n: int) -> dict[str, Any]:
    return {
        "question": f"{n} crates of 600 nails: how many?",
        "answer": f"{n}*600={600 * n}\n#### {600 * n:,}",
    }


def gsm8k_shot(n: int) -> dict[str, Any]:
    return gsm8k_row(100 + n)


Make = Callable[[int], dict[str, Any]]
COPIED: dict[str, tuple[str, Make, int]] = {
    "pope": ("test", pope_row, 12),
    "ai2d": ("test", ai2d_row, 12),
    "muirbench": ("test", muir_row, 12),
    "mmlu_pro": ("test", mmlu_row, 51),
    "gsm8k": ("test", gsm8k_row, 12),
}


def copy_tasks(folder: Path) -> Path:
    """Copy five of its tasks: an image task, one with a filter, one with several images, a group of
    text tasks, and a text task with two pipelines of filters.

    Args:
        folder: Where to; the result is what `--include_path` names.
    """
    for name, (split, make, n) in COPIED.items():
        place = folder / name
        shutil.copytree(their_tasks() / name, place)
        shutil.rmtree(place / "reasoning", ignore_errors=True)
        files = {split: _write(place / f"{name}.parquet", make, n)}
        if name == "mmlu_pro":
            files["validation"] = _write(place / "shots.parquet", make, 51 * 6)
        if name == "gsm8k":
            files["train"] = _write(place / "shots.parquet", gsm8k_shot, 12)
        for file in place.iterdir():
            if file.suffix == ".yaml" or file.name.startswith("_default"):
                file.write_text(_pointed(file.read_text(), files))
    # On its command line its own files go before those of --include_path: another name there.
    file = folder / "pope" / "pope.yaml"
    named = file.read_text().replace('task: "pope"', 'task: "pope_here"')
    file.with_name("pope_here.yaml").write_text(named)
    return folder


def _write(file: Path, make: Make, n: int) -> str:
    from datasets import Dataset, Features, Image, List, Value

    rows = [make(number) for number in range(n)]
    features: dict[str, Any] = {}
    for column, value in rows[0].items():
        if column == "image":
            features[column] = Image()
        elif column == "image_list":
            features[column] = List(Image())
        elif isinstance(value, list):
            features[column] = List(Value("string"))
        else:
            features[column] = Value("int64" if isinstance(value, int) else "string")
    Dataset.from_list(rows, features=Features(features)).to_parquet(str(file))
    return str(file)


def _pointed(text: str, files: dict[str, str]) -> str:
    if not re.search(r"^dataset_path:", text, re.M):
        return text
    text = re.sub(r"^dataset_kwargs:\n(?:  .*\n)+", "", text, flags=re.M)
    text = re.sub(r"^dataset_path:.*$", "dataset_path: parquet", text, flags=re.M)
    return f"{text}\ndataset_kwargs:\n  data_files: {json.dumps(files)}\n"


def responses(name: str) -> Iterator[str]:
    """Answers to a copied task's documents: right and wrong ones, in several forms."""
    _, make, n = COPIED[name]
    made = random.Random(7)
    for number in range(n):
        row = make(number)
        if name == "pope":
            yield made.choice([row["answer"], "Yes", "no", f" {row['answer']} ", "maybe"])
        elif name == "ai2d":
            right = "ABCD"[int(row["answer"])]
            yield made.choice([right, f"{right}. {row['options'][0]}", "Z", "I think A"])
        elif name == "muirbench":
            yield made.choice([row["answer"], f"{row['answer']}. yes", "A", "b"])
        elif name == "gsm8k":
            gold = 600 * number
            yield made.choice(
                [
                    f"The answer is {gold:,}.",
                    f"It is ${gold}.",
                    f"The answer is {gold}. No: {gold + 1}",
                    "Many.",
                ]
            )
        else:
            letter = row["answer"]
            yield made.choice(
                [f"So the answer is ({letter}).", f"Surely ({letter})", "The answer is (A).", "?"]
            )
