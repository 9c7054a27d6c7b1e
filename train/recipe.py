"""Recipes of the trainers: typed settings in TOML; unknown keys are refused.

A recipe is a built-in name (`tiny/vision_sr1`; `vsr1-bench ls recipes`) or the path of a TOML file.
`extends = "NAME"` inherits another recipe's settings. `key=value` on the command line takes
precedence. A folder in `SIZES` holds each recipe once for all sizes of a model:
`qwen2_5_vl/cold_start.toml` is `qwen2_5_vl_3b/cold_start` and `qwen2_5_vl_7b/cold_start`, with
`{size}` and `{memory}` filled in. `trainer = "sft"` marks a recipe of `train sft` (`sft_recipe`);
the others are for `train grpo`.
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

Objective = Literal[
    "answer_only", "summed", "multi_advantage", "decoupled", "external_perception", "moca"
]


class Recipe(Training):
    """The settings of `train grpo`; the defaults are the published ones.

    Published: Vision-SR1 (arXiv:2508.19652), section 4.1, and the defaults of the trainer that its
    code is built on.
    """

    trainer: ClassVar[str] = "grpo"

    # The data: a task's training split, or rows with the columns problem, answer and images
    task: str | None = None
    """A task with a training split; this or `dataset`."""
    dataset: UserText | None = None
    """A file, a folder, or a hub id."""
    split: str = "train"
    """Split of `dataset`."""
    prompt: str = "see_think"
    """Prompt format of the first pass (`vsr1-bench ls prompts`)."""
    max_prompt_tokens: Positive = 12_800
    """Longer prompts are skipped and counted."""

    # The objective (see `rl.rewards`)
    objective: Objective
    """What is rewarded, and how the rewards become advantages."""
    credit: Literal["reader", "description"] = "reader"
    """`decoupled`: which tokens the visual reward applies to. `description` is our variant.
    As printed in the paper, the objective never rewards the description tokens, and the negative
    advantage of a response without a description applies to no token (see `objectives`)."""
    format_weight: Share = 0.1
    """The paper's α."""
    lambda_answer: NonNegative = 0.5
    """`decoupled`: weight of the advantages of the answer."""
    lambda_visual: NonNegative = 0.5
    """`decoupled`: weight of the advantages of the description. `moca`: weight of the reader's
    answer in the reward."""
    moca_protect: NonNegative | None = None
    """`moca`: on a failed answer whose description the reader answered from, the advantage A of the
    description becomes A + `moca_protect` |A|."""
    moca_punish: NonNegative | None = None
    """`moca`: on any other failed answer it becomes A - `moca_punish` |A|."""
    component_weights: dict[str, float] = Field(
        default_factory=lambda: {
            "accuracy": 1.0,
            "format": 0.1,
            "description_accuracy": 1.0,
            "description_format": 0.1,
        }
    )
    """`multi_advantage`: weights of the components' advantages; with `reward`, of those that it
    returns, 1 for the others."""
    normalize_batch: bool = False
    """`multi_advantage`: normalise the weighted sums again, over a step's responses (GDPO)."""
    reward: UserText | None = None
    """A reward of your own, `FILE.py:FUNCTION`: its components take the place of the objective's.
    None = the objective's."""
    judge: str | None = None
    """The judge of the answers; None = the task's judge."""
    perception_model: str | None = None
    """`external_perception`: the reader's served id."""
    perception_base_url: str | None = None
    """`external_perception`: the reader's endpoint; its key is OPENAI_API_KEY."""
    perception_args: dict[str, Any] = Field(default_factory=dict)
    """`external_perception`: arguments of the reader's backend."""

    # Rollouts
    backend: Literal["auto", "vllm", "transformers"] = "auto"
    """Engine of the rollouts; `auto` = vLLM where it is installed."""
    engine_args: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the backend, as in `--model_args`."""
    sleep_level: Literal[0, 1, 2] | None = None
    """How vLLM frees GPU memory while the trainer works: 1 keeps its weights in host memory, 2
    discards them, 0 = it stays awake. None = 2."""
    prompts_per_step: Positive = 512
    """Prompts per step, over all ranks."""
    samples_per_prompt: Annotated[int, Field(ge=2)] = 8
    """Responses per prompt: the group of GRPO."""
    temperature: Annotated[float, Field(gt=0, le=2)] = 1.0
    """Of the rollouts."""
    max_tokens: Positive = 2048
    """Maximum tokens of a response, in each pass."""
    max_excluded_share: Share = 0.5
    """Training stops if a larger share of a step's responses has no reward because an image, the
    engine or the judge failed."""
    reader: Literal["greedy", "drawn"] | None = None
    """How the second pass is decoded; `drawn` = sampled at `temperature`. None = greedy if it only
    measures, sampled if the gradient reaches its tokens."""
    reader_prompt_tokens: Positive | None = None
    """Truncate the second pass's prompt to this many tokens, as the 2026 code; None = never."""
    filter_groups: bool = False
    """Replace groups whose mean accuracy carries no signal (DAPO's dynamic sampling)."""
    filter_low: float = 0.01
    """`filter_groups`: kept groups have a mean accuracy above this."""
    filter_high: float = 0.99
    """`filter_groups`: kept groups have a mean accuracy below this."""
    filter_tries: Positive = 20
    """`filter_groups`: maximum rounds of rollouts per step."""
    overlong_tokens: Positive | None = None
    """Punish the last so many tokens before `max_tokens` by 0 to -1, component `overlong` (DAPO's
    soft overlong punishment); None = not."""

    # The loss
    clip_low: NonNegative = 0.2
    """PPO's lower clip range: ratios below 1 - `clip_low`. The papers of `gspo` and `cispo` have
    other ranges: 3e-4 and 4e-4, and no lower bound (1 or more)."""
    clip_high: NonNegative = 0.3
    """PPO's upper clip range: ratios above 1 + `clip_high`."""
    dual_clip: Annotated[float, Field(gt=1)] | None = 3.0
    """Bound of the ratio of tokens with a negative advantage; None = no bound. Not in `cispo`."""
    beta: NonNegative = 1e-2
    """Weight of the KL to the frozen first model; 0 keeps no such model in memory."""
    aggregation: Literal["grpo", "dr_grpo", "dapo", "bnpo", "gspo", "cispo"] = "dapo"
    """How token losses become one loss (names as in TRL). `gspo` is `grpo` with the ratio and the
    clip of whole responses; `cispo` is `dapo` with clipped ratios as weights without a gradient."""
    scale_rewards: bool = True
    """Divide advantages by the group's standard deviation; `moca` never does."""
    mask_truncated: bool = False
    """Exclude truncated responses from the loss; their reward is 0 in any case."""
    importance_cap: NonNegative = 2.0
    """Maximum weight that corrects the engine's log-probs to the trainer's; 0 = no correction."""
    importance_mode: Literal["token_truncate", "sequence_mask"] = "token_truncate"
    """What happens above `importance_cap` (names as in TRL): weights of tokens are truncated, or
    whole responses are masked by the product of their tokens' weights."""

    # A pass with masked images (see `images.blackened`)
    masked_pass: Literal["measure", "papo", "vppo"] | None = None
    """One more log-prob pass, with masked images. `measure`: only for the metric
    `visual_dependence`. `papo`: also the loss of PAPO. `vppo`: also VPPO's filter of tokens and
    shaping of advantages. Prompts without images have none."""
    papo_gamma: NonNegative = 0.02
    """`papo`: weight of the KL to the masked policy, which is maximised. The paper has 0.01 without
    a KL to the first model (`beta=0`)."""
    papo_masked_entropy: NonNegative = 0.0
    """`papo`: weight η2 of the entropy of the masked policy, which is minimised. Above 0 the masked
    pass has a gradient, in the KL too. 0 = it has none, as in the released code."""
    vppo_tokens: Share = 0.4
    """`vppo`: share of a response's tokens with a policy gradient, those that depend most on the
    image."""
    vppo_floor: Share = 0.9
    """`vppo`: factor of the advantage of the response that depends least; the mean factor is 1."""
    entropy_penalty: NonNegative = 0.0
    """Weight of the entropy -log p of the sampled tokens, which is minimised; η1 of PAPO (0.03 with
    `beta=0`, 0.05 with a KL and 7B), and the penalty of VPPO (0.06)."""

    # Updates
    minibatch_prompts: Positive = 128
    """Prompts per update, over all ranks; divides `prompts_per_step`."""
    epochs: Positive = 1
    """Passes over each rollout."""

    # The run
    max_steps: Positive = 200
    """Number of steps; a larger number continues a training."""
    output_dir: UserPath = Path("outputs/grpo")
    """Folder of checkpoints, metrics and curves; the same folder resumes."""
    eval_every: Annotated[int, Field(ge=0)] = 0
    """Steps between validation runs of the evaluator; 0 = never."""
    eval_tasks: str = ""
    """Tasks of those runs, as `--tasks`."""
    eval_limit: Positive = 200
    """Samples per task of those runs."""
    overlap_seconds: Annotated[float, Field(ge=0, le=3600)] = 60
    """With `eval_every`: for how long to look for these samples in the training data before a new
    training; rows are taken in a random order. 0 = not at all. `audit --against` compares all."""
    proof_bound: NonNegative | None = None
    """Maximum mean |Δ log-prob| between engine and trainer, in nats; None = by dtype (see
    `rl.sync_check`)."""

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
        self._rewards_well()
        if self.papo_masked_entropy and self.masked_pass != "papo":
            raise ValueError("papo_masked_entropy goes with masked_pass papo")
        if self.masked_pass == "vppo" and self.aggregation == "gspo":
            raise ValueError(
                "aggregation gspo has one ratio for a response, and vppo filters its tokens; give "
                "another aggregation"
            )
        return self

    def _rewards_well(self) -> None:
        """Refuse components without a weight, and weights without a component."""
        if self.reward and self.objective in ("decoupled", "moca"):
            raise ValueError(
                f"reward: {self.objective} has two rewards of its own; give objective=summed, or "
                "multi_advantage, or answer_only without a second pass"
            )
        self._gates_well()
        known = (*COMPONENTS, *(("overlong",) if self.overlong_tokens else ()))
        unknown = set(self.component_weights) - set(known)
        if unknown and not self.reward:  # whose names are not known yet
            raise ValueError(f"component_weights {sorted(unknown)}: known are {known}")
        if self.objective != "multi_advantage":
            if self.normalize_batch:
                raise ValueError(f"normalize_batch goes with multi_advantage, not {self.objective}")
        elif set(known) - set(COMPONENTS) - set(self.component_weights):
            raise ValueError("overlong_tokens: give component_weights a weight for overlong, too")
        if self.overlong_tokens and self.overlong_tokens > self.max_tokens:
            raise ValueError(
                f"overlong_tokens {self.overlong_tokens} is more than max_tokens {self.max_tokens}"
            )

    def _gates_well(self) -> None:
        """Refuse `moca` without its weights, and its weights without it."""
        given = [self.moca_protect is not None, self.moca_punish is not None]
        if self.objective != "moca":
            if any(given):
                raise ValueError(
                    f"moca_protect and moca_punish go with objective moca, not {self.objective}"
                )
        elif not all(given):
            raise ValueError(
                "objective moca needs moca_protect and moca_punish; tiny/moca has values of ours"
            )
        elif self.aggregation == "gspo":
            raise ValueError(
                "aggregation gspo has one ratio for a response, and moca several advantages; give "
                "another aggregation"
            )

    def _reads_well(self) -> None:
        """Refuse an impossible second pass."""
        if self.reads and not self.format.describes:
            raise ValueError(
                f"objective {self.objective} needs descriptions; {self.prompt} asks "
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
        """Whether the gradient reaches the second pass's tokens."""
        return self.objective == "decoupled" and self.credit == "reader"

    @property
    def masked_gradient(self) -> bool:
        """Whether the gradient passes through the masked images, too."""
        return self.masked_pass == "papo" and self.papo_masked_entropy > 0

    @property
    def penalised(self) -> bool:
        """Whether the loss of a token has a part that does not depend on its advantage."""
        return bool(self.beta or self.entropy_penalty or self.masked_pass == "papo")

    @property
    def reads(self) -> bool:
        """Whether there is a second pass."""
        return self.objective != "answer_only"

    @property
    def keeps_reference(self) -> bool:
        """Whether there is a KL term."""
        return self.beta > 0

    @property
    def policy_temperature(self) -> float:
        """The temperature of the rollouts."""
        return self.temperature

    @property
    def reading_temperature(self) -> float:
        """The temperature of the second pass; 0 = greedy."""
        drawn = self.trains_reader if self.reader is None else self.reader == "drawn"
        return self.temperature if drawn else 0.0


AnyRecipe = TypeVar("AnyRecipe", bound=Training)

SIZES = {
    "qwen2_5_vl": {
        "3b": {"size": "3", "memory": "40", "lora_cards": "1 x 24 GB or more"},
        "7b": {"size": "7", "memory": "80", "lora_cards": "1 or 2 x 80 GB"},
    }
}
"""Folder of recipes -> size -> values that differ: billions of parameters, the memory in GB of each
of the 8 GPUs that the authors state, and the cards that LoRA is meant for here."""

COMPONENTS = ("accuracy", "format", "description_accuracy", "description_format")


def built_in() -> dict[str, Path]:
    """Names and files of the recipes that come with the package."""
    files = {
        f"{path.parent.name}{size}/{path.stem}": path
        for path in FOLDER.rglob("*.toml")
        for size in [f"_{size}" for size in SIZES.get(path.parent.name, ())] or [""]
    }
    return dict(sorted(files.items()))


def load_recipe(name: str, settings: Sequence[str] = ()) -> Recipe:
    """Read a recipe of `train grpo` and apply `key=value` settings.

    Raises:
        UsageError: see `read_recipe`.
    """
    return read_recipe(Recipe, name, settings)


def trainer_of(name: str) -> str:
    """The action of `vsr1-bench train` that a recipe is for.

    Raises:
        UsageError: there is no such recipe, or it cannot be read.
    """
    return str(_read(name).get("trainer", Recipe.trainer))


def read_recipe(kind: type[AnyRecipe], name: str, settings: Sequence[str] = ()) -> AnyRecipe:
    """Read a recipe of a trainer and apply `key=value` settings.

    Raises:
        UsageError: there is no such recipe, it is one of another trainer, a key is unknown (the
            nearest are named), or a value does not fit.
    """
    values = _read(name)
    trainer = values.pop("trainer", Recipe.trainer)
    if trainer != kind.trainer:
        raise UsageError(f"recipe {name} is one of train {trainer}: vsr1-bench train {trainer} …")
    values = _over(values, _settings(settings))
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
        raise UsageError(f"recipe {name}: extends itself through {' -> '.join(above)}")
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
    return _over(_read(str(parent), (*above, name)), values) if parent else values


def _over(values: dict[str, Any], newer: dict[str, Any]) -> dict[str, Any]:
    """Settings with newer ones in their place; a new source of rows replaces the other kind."""
    kept = dict(values)
    for one, other in (("task", "dataset"), ("dataset", "task")):
        if newer.get(one) is not None and other not in newer:
            kept.pop(other, None)
    return kept | newer


def _settings(settings: Sequence[str]) -> dict[str, Any]:
    """Parse `key=value`; a value that is not TOML is text."""
    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"{setting!r}: wanted key=value, e.g. max_steps=10")
        words = {"none": None, "null": None, "true": True, "false": False}
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except ValueError:
            value = words.get(text.lower(), text)
        values[key.strip()] = value
    return values
