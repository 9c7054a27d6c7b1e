"""The flags of judges, and how values of flags are read: `flags` has those of a whole run.

Apart from `flags`, so that a command that only judges does not import what a run needs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt, ValidationError

from vsr1_bench._util.flag_values import key_values, scalar
from vsr1_bench._util.paths import user_text
from vsr1_bench.answers import tag_pair
from vsr1_bench.errors import UsageError, nearest
from vsr1_bench.generation.costs import Spending, read_prices
from vsr1_bench.judge import JudgeOptions
from vsr1_bench.prompts.judge_prompts import get_prompt


def read_tags(text: str) -> tuple[str, ...]:
    """Read `cot,[[note]]…[[/note]]`.

    Raises:
        ValueError: a name is not a tag.
    """
    names = tuple(sorted({name.strip() for name in text.split(",") if name.strip()}))
    for name in names:
        tag_pair(name)
    return names


def _native(value: Any) -> Any:
    """A mapping's value as the command line would have it: numbers from text, lists as JSON."""
    if isinstance(value, str):
        return scalar(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return json.dumps(value) if isinstance(value, list | tuple) else value


def read_mapping(value: Any, flag: str) -> dict[str, Any]:
    """Read a mapping, or `name=value,name=value`; values as the command line would have them."""
    if isinstance(value, str):
        return key_values(value, flag)
    if not isinstance(value, Mapping):
        raise ValueError("wanted a mapping, or a text name=value,name=value")
    return {str(name): _native(one) for name, one in value.items()}


def _read_path(value: Any) -> Any:
    return user_text(os.fspath(value) if isinstance(value, os.PathLike) else value)


def read_text(read: Callable[[str], Any], joint: str = "") -> BeforeValidator:
    """Read a text, or a list whose items are joined by `joint`."""

    def from_any(value: Any) -> Any:
        if joint and isinstance(value, list | tuple):
            value = joint.join(map(str, value))
        return read(value) if isinstance(value, str) else value

    return BeforeValidator(from_any)


PathText = Annotated[str, BeforeValidator(_read_path)]
UserPath = Annotated[Path, BeforeValidator(_read_path)]


def mapping(flag: str) -> BeforeValidator:
    """Read the mapping that a flag takes."""
    return BeforeValidator(partial(read_mapping, flag=flag))


class BaseFlags(BaseModel):
    """A group of flags, which are checked together."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, coerce_numbers_to_str=True, protected_namespaces=()
    )

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Check flags by name; None and False mean that a flag was not given.

        Raises:
            UsageError: an unknown flag, or a value that it cannot have.
        """
        known = [f"--{name}" for name in cls.model_fields]
        for name in given:
            if name not in cls.model_fields:
                raise UsageError(f"unknown flag --{name}; {nearest(f'--{name}', known)}")
        set_flags = {k: v for k, v in given.items() if v is not None and v is not False}
        try:
            return cls.model_validate(set_flags)
        except ValidationError as error:
            first = error.errors()[0]
            reason = first["msg"].removeprefix("Value error, ")
            reason = reason.replace("Input should be", "wanted").replace("a valid string", "a text")
            shown = first["input"]
            raise UsageError(f"--{first['loc'][0]} {shown!r:.200}: {reason}") from None

    @classmethod
    def of_command(cls, options: Mapping[str, Any]) -> Self:
        """Take those of a command's flags that this class has."""
        return cls.of({k: v for k, v in options.items() if k in cls.model_fields})


class ThinkingFlags(BaseFlags):
    """Flags that judges and the reader share."""

    thinking_tags: Annotated[tuple[str, ...], read_text(read_tags, ",")] = ()


class JudgeFlags(ThinkingFlags):
    """Flags of judges."""

    judge: str | None = None
    judge_model: PathText | None = None
    judge_base_url: str | None = None
    judge_all: bool = False
    judge_concurrency: PositiveInt | None = None
    judge_prompt: str = "strict"
    judge_args: Annotated[dict[str, Any], mapping("--judge_args")] = {}
    price_file: UserPath | None = None
    max_cost: Annotated[float, Field(ge=0, lt=1e12)] | None = None

    dry_run: bool = False
    batch: bool = False

    def judge_options(self, labels: Path | None = None) -> JudgeOptions:
        """The options of judges; `labels` is the file of judge `labels`.

        Raises:
            UsageError: flags that do not go together, or a price file that cannot be read.
        """
        get_prompt(self.judge_prompt)
        prices, currency = read_prices(self.price_file) if self.price_file else ({}, "")
        if self.max_cost is not None and not prices:
            raise UsageError("--max_cost needs prices: give --price_file FILE.json, too")
        refuse_key(self.judge_base_url, "--judge_base_url", "VSR1_JUDGE_API_KEY")
        if self.judge_all and "cascade" not in (self.judge or ""):
            raise UsageError("--judge_all goes with --judge cascade:RULE,LLM; other judges see all")
        return JudgeOptions(
            labels=labels,
            model=self.judge_model,
            base_url=self.judge_base_url,
            judge_all=self.judge_all,
            concurrency=self.judge_concurrency,
            prompt=self.judge_prompt,
            args=self.judge_args,
            spending=Spending(prices, self.max_cost, currency=currency, batch=self.batch),
            thinking_tags=self.thinking_tags,
            dry_run=self.dry_run,
            batch=self.batch,
        )


def refuse_key(url: str | None, flag: str, variable: str) -> None:
    """Refuse a URL with a key in it, because URLs are stored.

    Raises:
        UsageError: it has a user or a password.
    """
    if "@" in urlsplit(url or "").netloc:
        raise UsageError(f"{flag} holds a user or password; give the key by {variable}")
