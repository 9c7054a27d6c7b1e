"""Settings that every trainer's recipe has, and the types of their values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from vsr1_bench._util.paths import user_text
from vsr1_bench.generation.attention import Attention

DS_CONFIGS = Path(__file__).parents[1] / "ds_config"

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
ModelPart = Literal["vision", "projector", "language"]
UserPath = Annotated[Path, BeforeValidator(user_text)]
UserText = Annotated[str, BeforeValidator(user_text)]
"""A path, or the name of something else; `~` in it is expanded."""
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

# Settings that may change on resume, because they affect a step by rounding at most.
NOT_TRAINING = frozenset(
    "about source sleep_level "
    "output_dir max_steps save_every keep_last eval_every eval_tasks eval_limit overlap_seconds "
    "loggers data_root offline perception_args engine_args max_excluded_share "
    "proof_bound microbatch_tokens packing gradient_checkpointing attention "
    "peak_tflops".split()
)


# Settings that older checkpoints lack: those were trained with the default. The default is not in
# the hash of a recipe, so that recipes without these settings keep theirs.
LATER = frozenset(
    "lora_rank lora_alpha lora_target "
    "importance_mode overlong_tokens normalize_batch reward moca_protect moca_punish "
    "masked_pass papo_gamma papo_masked_entropy entropy_penalty "
    "vppo_tokens vppo_floor".split()
)


class Training(BaseModel):
    """Settings of every trainer: the model, the updates, the run."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
    trainer: ClassVar[str]
    """The action of `vsr1-bench train` that uses it."""

    about: str = ""
    """One line for `ls recipes`."""
    source: str = ""
    """What it reproduces, and where that is published; empty = this project's own recipe."""

    # The model
    model: UserText
    """`tiny`, a folder, or a hub id."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Precision of the forward and backward passes; the optimizer's states are float32."""
    gradient_checkpointing: bool = True
    """Compute activations again in the backward pass: less memory, more time."""
    attention: Attention = "auto"
    """Of the trained model, and of rollouts by transformers; see `generation.attention`."""
    freeze: tuple[ModelPart, ...] = ()
    """Parts that keep their weights: `vision` (the tower), `projector`, `language`."""
    lora_rank: Positive | None = None
    """Train LoRA adapters of this rank instead of the weights; None = the weights."""
    lora_alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """The adapters' product is scaled by `lora_alpha / lora_rank`; None = `lora_rank`."""
    lora_target: tuple[ModelPart, ...] | None = None
    """Parts whose linear layers get adapters; None = `language`."""

    # The data
    data_root: UserText | None = None
    """Folder with a local mirror of the data sets, as `--data_root`."""
    offline: bool = False
    """Never contact the hub; missing data are an error at once."""
    min_pixels: Positive | None = None
    """None = the evaluator's."""
    max_pixels: Positive | None = None
    """None = the evaluator's."""

    # Updates
    lr: NonNegative = 1e-6
    """Learning rate."""
    weight_decay: NonNegative = 0.01
    """AdamW's."""
    decay: Literal["all", "matrices"] = "all"
    """Which weights decay: all, or those with two dimensions or more."""
    betas: tuple[Share, Share] = (0.9, 0.999)
    """AdamW's."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Updates over which the learning rate rises from 0."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """The learning rate after the warm-up."""
    schedule_steps: Positive | None = None
    """Updates until `linear` and `cosine` reach `lr_floor`."""
    lr_floor: Share = 0.0
    """Fraction of `lr` at the end of `linear` and `cosine`."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients are clipped to this norm."""
    microbatch_tokens: Positive = 16_384
    """Maximum tokens of one forward pass, padding included."""
    packing: bool | None = None
    """The rows of a forward pass follow each other without padding, and responses share a copy of
    their prompt. None = where model and attention can do it (see `core.packed`), `true` = refuse to
    train otherwise, `false` = a padded row for each response."""
    deepspeed: UserText = "zero2"
    """A name from `ds_config/`, or the path of a DeepSpeed file."""
    peak_tflops: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """What a card can do at most, in 1e12 operations per second, for `mfu`; None = by the card's
    name (see `flops.PEAKS`)."""
    cpu_adam: bool = False
    """Use DeepSpeed's optimizer for offloaded states. It compiles once, which takes minutes."""

    # The run
    output_dir: UserPath
    """Folder of checkpoints, metrics and curves; the same folder resumes."""
    seed: int = 0
    """Seed of the order of the rows and of all sampling."""
    save_every: Positive = 20
    """Steps between checkpoints."""
    keep_last: Positive = 2
    """Number of checkpoints that are kept."""
    loggers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    """Other places that get the metrics, beside metrics.jsonl."""

    @model_validator(mode="after")
    def _lora_fits(self) -> Self:
        """Refuse LoRA settings that contradict each other or `freeze`."""
        if self.lora_rank is None:
            for key in ("lora_alpha", "lora_target"):
                if getattr(self, key) is not None:
                    raise ValueError(f"{key} goes with lora_rank; give both, e.g. lora_rank=64")
            return self
        if "language" not in self.lora_parts:
            raise ValueError(
                "lora_target without language: a prompt without an image would train nothing; add "
                "language"
            )
        if both := sorted({*self.lora_parts} & {*self.freeze}):
            raise ValueError(f"lora_target {both[0]}: freeze names it too; drop it from one")
        return self

    @property
    def lora_parts(self) -> tuple[ModelPart, ...]:
        """Parts whose linear layers get adapters, if there are any."""
        return ("language",) if self.lora_target is None else self.lora_target

    @property
    def lora_scale(self) -> float:
        """The resolved `lora_alpha`."""
        return float(self.lora_rank or 0) if self.lora_alpha is None else self.lora_alpha

    @property
    def keeps_reference(self) -> bool:
        """Whether a frozen copy of the first weights stays in memory, for a KL term."""
        return False

    @property
    def policy_temperature(self) -> float:
        """The temperature at which tokens are scored."""
        return 1.0

    def changed(self, other: Mapping[str, Any]) -> list[str]:
        """Settings that affect the training and differ from a stored recipe, as `key: a -> b`."""
        mine = self.model_dump(mode="json")
        theirs = {key: self._default(key) for key in LATER} | dict(other)
        return [
            f"{key}: {theirs.get(key)!r} -> {mine[key]!r}"
            for key in mine
            if key not in NOT_TRAINING and mine[key] != theirs.get(key)
        ]

    def digest(self) -> str:
        """Hash of the settings that affect the training."""
        kept = {
            key: value
            for key, value in self.model_dump(mode="json").items()
            if key not in NOT_TRAINING and not (key in LATER and value == self._default(key))
        }
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()

    def _default(self, key: str) -> Any:
        field = type(self).model_fields.get(key)
        return field.default if field else None
