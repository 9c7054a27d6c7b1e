"""Flags as other tools have them: each gets the line that works here.

lm-eval, lmms-eval, inspect and VLMEvalKit name the same things in other ways. Where a word of
theirs is not ours, the error says what to type instead of the nearest of our own names.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from vsr1_bench.errors import UsageError

_ENGINE = ("dtype", "max_model_len", "gpu_memory_utilization", "attn_implementation")
_POSITIONAL = {
    "validate": ("tasks", "task"),
    "train": ("recipe", "config_file"),
    "judge": ("runs", "run"),
    "table": ("runs", "run"),
    "compare": ("runs", "run"),
}
"""Command → what it takes without a flag, where others have one."""
_RENAMED = {
    "model_name": "--model",
    "model_path": "--model",
    "model_base_url": "--base_url",
    "api_base": "--base_url",
    "data": "--tasks",
    "benchmark": "--tasks",
    "task": "--tasks",
    "output_dir": "--output_path",
    "work_dir": "--output_path",
    "log_dir": "--output_path",
    "max_samples": "--limit",
    "num_samples_per_task": "--limit",
    "n_samples": "--num_samples",
    "epochs": "--num_samples",
}
"""Their flag → ours, with the same value."""


def refuse_habits(command: str, known: Collection[str], words: Sequence[str]) -> None:
    """Refuse a flag of another tool with the words that do the same here.

    Args:
        command: Name of the command, e.g. `run`.
        known: The flags that the command has, with dashes.
        words: What was typed after the command.

    Raises:
        UsageError: the first such flag.
    """
    for place, word in enumerate(words):
        if word == "--":
            return
        flag, equals, value = word.partition("=")
        if not flag.startswith("--") or flag in known:
            continue
        following = words[place + 1 : place + 2]
        if not equals:
            value = following[0] if following and not following[0].startswith("--") else "…"
        if instead := _instead(command, flag[2:], value, known):
            raise UsageError(f"{flag}: {instead} (vsr1-bench {command} --help)")


def _instead(command: str, name: str, value: str, known: Collection[str]) -> str | None:
    if name in _POSITIONAL.get(command, ()):
        more = " grpo" if command == "train" else ""
        return f"give it without the flag: vsr1-bench {command}{more} {value}"
    if "--gen_kwargs" in known:
        from vsr1_bench.pipeline.gen_kwargs import ALIASES, KINDS

        field = ALIASES.get(name, name)
        if field in KINDS or field == "stop":
            return f"a field of the sampling: --gen_kwargs {field}={value}"
    if "--model_args" in known and name in _ENGINE:
        return f"an argument of the backend: --model_args {name}={value}"
    if command == "train":
        from vsr1_bench.cli.train import recipe_keys

        if name in recipe_keys():
            return f"a key of the recipe, without dashes: {name}={value}"
    if (ours := _RENAMED.get(name)) in known:
        return f"here {ours} {value}"
    return None
