"""Recipes of the trainers: typed settings in TOML, unknown keys refused.

A recipe is a built-in name (`tiny/vision_sr1`; `vsr1-bench ls recipes`) or the path of a TOML file.
`extends = "NAME"` takes another recipe's settings first; `key=value` on the command line goes last.
A folder of `SIZES` holds each recipe once for all sizes of a model: `qwen2_5_vl/cold_start.toml` is
`qwen2_5_vl_3b/cold_start` and `qwen2_5_vl_7b/cold_start`, with `{size}` and `{memory}` filled in.
`trainer = "sft"` marks a recipe of `train sft` (`sft_recipe`); the others are for `train grpo`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from vsr1_bench._util.paths import user_path
from vsr1_bench.errors import UsageError, nearest
from vsr1_bench.prompts.formats import PromptFormat, get_format

from .core.settings import NonNegative, Positive, Share, Training, UserPath, UserText

FOLDER = Path(__file__).parent / "recipes"

Objective = Literal["answer_only", "summed", "multi_advantage", "decoupled", "external_perception"]


class Recipe(Training):
    """Everything that decides a training run; the defaults are the published settings.

    Published: Vision-SR1 (arXiv:2508.19652), section 4.1, and the defaults of the trainer that its
    code is built on.
    """

    trainer: ClassVar[str] = "grpo"

    # The data: a task's own training split, or rows of columns problem / answer / images
    task: str | None = None
    dataset: UserText | None = None
    """A file, a folder, or a hub id."""
    split: str = "train"
    prompt: str = "see_think"
    max_prompt_tokens: Positive = 12_800
    """Longer prompts are left out, and counted."""

    # The objective (see `rl.rewards`)
    objective: Objective
    credit: Literal["reader", "description"] = "reader"
    """`decoupled`: whose tokens the visual reward reaches. `description` is our variant.
    As printed in the paper, the objective never rewards the description tokens, and nothing carries
    the negative advantage of a response without a description (see `objectives`)."""
    format_weight: Share = 0.1
    """The paper's α."""
    lambda_answer: NonNegative = 0.5
    lambda_visual: NonNegative = 0.5
    component_weights: dict[str, float] = Field(
        default_factory=lambda: {
            "accuracy": 1.0,
            "format": 0.1,
            "description_accuracy": 1.0,
            "description_format": 0.1,
        }
    )
    """`multi_advantage`: weights of the components' advantages."""
    judge: str | None = None
    """Who says that an answer is right; None = the task's judge."""
    perception_model: str | None = None
    """`external_perception`: the reader's served id,"""
    perception_base_url: str | None = None
    """its endpoint (the key: OPENAI_API_KEY),"""
    perception_args: dict[str, Any] = Field(default_factory=dict)
    """and what its backend takes."""

    # Rollouts
    backend: Literal["auto", "vllm", "transformers"] = "auto"
    engine_args: dict[str, Any] = Field(default_factory=dict)
    """What the backend takes, as `--model_args`."""
    prompts_per_step: Positive = 512
    samples_per_prompt: Annotated[int, Field(ge=2)] = 8
    temperature: Annotated[float, Field(gt=0, le=2)] = 1.0
    max_tokens: Positive = 2048
    """Of each pass."""
    max_excluded_share: Share = 0.5
    """Training stops where more of a step's responses have no reward: an image, the engine or the
    judge failed."""
    reader: Literal["greedy", "drawn"] | None = None
    """How the second pass is decoded: `drawn` = at `temperature`. None = greedy where it only
    measures, drawn where the gradient falls on its tokens."""
    reader_prompt_tokens: Positive | None = None
    """Cut a second pass's prompt after so many tokens, as the 2026 code does; None = never."""
    filter_groups: bool = False
    """Draw again for groups whose mean accuracy carries no signal (DAPO's dynamic sampling)."""
    filter_low: float = 0.01
    filter_high: float = 0.99
    filter_tries: Positive = 20

    # The loss
    clip_low: NonNegative = 0.2
    clip_high: NonNegative = 0.3
    dual_clip: Annotated[float, Field(gt=1)] | None = 3.0
    beta: NonNegative = 1e-2
    """Weight of the KL to the frozen first model; 0 keeps none in memory."""
    aggregation: Literal["grpo", "dr_grpo", "dapo", "bnpo"] = "dapo"
    scale_rewards: bool = True
    """Divide advantages by the group's standard deviation."""
    mask_truncated: bool = False
    """Leave answers that were cut off out of the loss (they earn 0 either way)."""
    importance_cap: NonNegative = 2.0
    """Largest weight that corrects the engine's log-probs towards the trainer's; 0 = none."""

    # Updates
    minibatch_prompts: Positive = 128
    epochs: Positive = 1
    """Passes over each rollout."""
    # The run
    max_steps: Positive = 200
    output_dir: UserPath = Path("outputs/grpo")
    eval_every: Annotated[int, Field(ge=0)] = 0
    """Steps between validations by the evaluator; 0 = never."""
    eval_tasks: str = ""
    eval_limit: Positive = 200
    proof_bound: NonNegative | None = None
    """Largest |Δ log-prob| between engine and trainer; None = by dtype (see `proof`)."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        """Refuse contradictions, naming both sides."""
        if (self.task is None) == (self.dataset is None):
            raise ValueError("give either task or dataset, and not both")
        if self.prompts_per_step % self.minibatch_prompts:
            raise ValueError(
                f"minibatch_prompts {self.minibatch_prompts} does not divide prompts_per_step "
                f"{self.prompts_per_step}"
            )
        if self.objective == "external_perception" and not (
            self.perception_model and self.perception_base_url
        ):
            raise ValueError(
                "objective external_perception needs perception_model and perception_base_url"
            )
        if self.credit == "description" and self.objective != "decoupled":
            raise ValueError(f"credit description goes with decoupled, not {self.objective}")
        self._reads_well()
        if self.schedule != "constant" and self.schedule_steps is None:
            raise ValueError(f"schedule {self.schedule} needs schedule_steps")
        if self.eval_every and not self.eval_tasks:
            raise ValueError(f"eval_every {self.eval_every} needs eval_tasks")
        unknown = set(self.component_weights) - set(COMPONENTS)
        if unknown:
            raise ValueError(f"component_weights {sorted(unknown)}: known are {COMPONENTS}")
        return self

    def _reads_well(self) -> None:
        """Refuse a second pass that cannot be."""
        if self.reads and not self.format.describes:
            raise ValueError(
                f"objective {self.objective} wants descriptions; {self.prompt} asks "
                "for none, see_think does"
            )
        if self.trains_reader and self.reader == "greedy":
            raise ValueError(
                "reader greedy: decoupled trains on the reader's tokens, and a greedy answer is no "
                "sample of the policy; give reader=drawn or credit=description"
            )
        if self.reader_prompt_tokens and self.objective == "external_perception":
            raise ValueError("reader_prompt_tokens: prompts of another model are not cut here")

    @property
    def format(self) -> PromptFormat:
        """The prompt format of the first pass."""
        try:
            return get_format(self.prompt)
        except UsageError as error:
            raise ValueError(str(error)) from None

    @property
    def trains_reader(self) -> bool:
        """Whether the gradient falls on the second pass's tokens."""
        return self.objective == "decoupled" and self.credit == "reader"

    @property
    def reads(self) -> bool:
        """Whether there is a second pass."""
        return self.objective != "answer_only"

    @property
    def keeps_reference(self) -> bool:
        """The KL term's reference."""
        return self.beta > 0

    @property
    def policy_temperature(self) -> float:
        """The rollouts'."""
        return self.temperature

    @property
    def reading_temperature(self) -> float:
        """Temperature of the second pass."""
        drawn = self.trains_reader if self.reader is None else self.reader == "drawn"
        return self.temperature if drawn else 0.0


Kind = TypeVar("Kind", bound=Training)

SIZES = {"qwen2_5_vl": {"3b": {"size": "3", "memory": "40"}, "7b": {"size": "7", "memory": "80"}}}
"""Folder of recipes -> size -> what differs: billions of parameters, and the GB of each of 8 GPUs
that the authors state."""

COMPONENTS = ("accuracy", "format", "description_accuracy", "description_format")


def built_in() -> dict[str, Path]:
    """Names of the recipes that come with the package, and their files."""
    found = {}
    for path in FOLDER.rglob("*.toml"):
        folder = path.parent.name
        for size in SIZES.get(folder, {None: {}}):
            found[f"{folder}_{size}/{path.stem}" if size else f"{folder}/{path.stem}"] = path
    return dict(sorted(found.items()))


def load_recipe(name: str, settings: Sequence[str] = ()) -> Recipe:
    """Read a recipe of `train grpo` and lay `key=value` settings over it.

    Raises:
        UsageError: see `read_recipe`.
    """
    return read_recipe(Recipe, name, settings)


def trainer_of(name: str) -> str:
    """The action of `vsr1-bench train` that a recipe is for.

    Raises:
        UsageError: no such recipe, or not readable.
    """
    return str(_read(name).get("trainer", Recipe.trainer))


def read_recipe(kind: type[Kind], name: str, settings: Sequence[str] = ()) -> Kind:
    """Read a recipe of a trainer and lay `key=value` settings over it.

    Raises:
        UsageError: no such recipe, one of another trainer, an unknown key (the nearest are named)
            or a value that does not fit.
    """
    values = _read(name)
    trainer = values.pop("trainer", Recipe.trainer)
    if trainer != kind.trainer:
        raise UsageError(f"recipe {name} is one of train {trainer}: vsr1-bench train {trainer} …")
    values |= _settings(settings)
    known = tuple(kind.model_fields)
    for key in values:
        if key not in known:
            raise UsageError(f"recipe {name}: unknown key {key!r}; {nearest(key, known)}")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        given = f"{key}={first['input']!r}: " if key else ""
        raise UsageError(f"recipe {name}: {given}{reason}") from None


def _read(name: str, above: tuple[str, ...] = ()) -> dict[str, Any]:
    known = built_in()
    path = known.get(name) or user_path(name)
    if not path.is_file():
        raise UsageError(
            f"no recipe {name!r}: {nearest(name, tuple(known))} (all: vsr1-bench ls recipes), or "
            "give the path of a TOML file"
        )
    if name in above:
        raise UsageError(f"recipe {name}: extends itself by way of {' -> '.join(above)}")
    try:
        text = path.read_text("utf-8")
        if name in known:
            folder, _, size = name.partition("/")[0].rpartition("_")
            for key, value in SIZES.get(folder, {}).get(size, {}).items():
                text = text.replace(f"{{{key}}}", value)
        values = tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise UsageError(f"recipe {name}: not readable as TOML: {error}") from error
    parent = values.pop("extends", None)
    return (_read(str(parent), (*above, name)) if parent else {}) | values


def _settings(settings: Sequence[str]) -> dict[str, Any]:
    """Read `key=value`: the value as TOML where it is some, else as text."""
    found: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"{setting!r}: wanted key=value, e.g. max_steps=10")
        if text.lower() in ("none", "null"):
            found[key.strip()] = None
            continue
        try:
            found[key.strip()] = tomllib.loads(f"value = {text}")["value"]
        except ValueError:
            lowered = {"true": True, "false": False}
            found[key.strip()] = lowered.get(text.lower(), text)
    return found
