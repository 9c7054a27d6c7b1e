"""The trained model: DeepSpeed around a `Scorer`, and its frozen reference.

It scores tokens, takes optimizer steps and hands out weights; it does not know about rewards.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vsr1_bench.errors import UsageError, nearest
from vsr1_bench.generation.models import ModelInfo

from . import lora
from .flops import FlopCount, peak_of
from .loading import load, spread
from .ranks import Ranks, TrainError
from .settings import DS_CONFIGS, Training

if TYPE_CHECKING:
    from torch import Tensor

    from vsr1_bench.generation.chat import ChatRenderer

    from .encoding import Batch

Micro = TypeVar("Micro")


def banned_tokens(model: ModelInfo) -> tuple[int, ...]:
    """The placeholder tokens of images and videos, which must never be sampled.

    One without an image would crash the trainer's forward pass.
    """
    from transformers import AutoConfig

    from vsr1_bench.generation.chat import media_ids

    config = AutoConfig.from_pretrained(model.path)
    vocabulary = config.get_text_config().vocab_size
    return tuple(sorted(token for token in media_ids(config) if token < vocabulary))


def read_ds_config(recipe: Training) -> dict[str, Any]:
    """The recipe's DeepSpeed file, completed with the recipe's settings.

    Raises:
        UsageError: there is no such file, or its settings contradict the recipe's.
    """
    known = {path.stem: path for path in DS_CONFIGS.glob("*.json")}
    path = known.get(recipe.deepspeed) or Path(recipe.deepspeed).expanduser()
    try:
        config: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"deepspeed={recipe.deepspeed}: {nearest(recipe.deepspeed, tuple(known))}, or give a "
            f"JSON file ({error})"
        ) from error
    stage = int(config.get("zero_optimization", {}).get("stage", 0))
    if recipe.dtype == "bfloat16" and stage == 0:
        raise UsageError(
            "dtype=bfloat16 with deepspeed stage 0 keeps no fp32 weights and drifts; use zero2"
        )
    if stage >= 2:  # at stage 1 this setting would change DeepSpeed's optimizer
        # A minibatch has many micro-batches; in bfloat16 the later ones would be rounded away.
        config["data_types"] = {"grad_accum_dtype": "fp32"}
    return config | {
        "train_micro_batch_size_per_gpu": 1,  # micro-batches are cut by tokens, see `Encoder`
        "gradient_accumulation_steps": 1,
        "gradient_clipping": recipe.max_grad_norm,
        "bf16": {"enabled": recipe.dtype == "bfloat16"},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": recipe.cpu_adam,
        "steps_per_print": 2**31,
    }


class TrainingEngine:
    """A policy under DeepSpeed, and its reference where the loss has a KL term."""

    def __init__(
        self,
        recipe: Training,
        model: ModelInfo,
        renderer: ChatRenderer,
        ranks: Ranks,
        banned: tuple[int, ...] = (),
    ) -> None:
        """Load the model and start DeepSpeed; all ranks call.

        Raises:
            ModelError: the model cannot be loaded.
            UsageError: the DeepSpeed settings cannot be used.
        """
        self.recipe, self.model_info, self.renderer, self.ranks = recipe, model, renderer, ranks
        self.config = read_ds_config(recipe)
        self.stage = int(self.config.get("zero_optimization", {}).get("stage", 0))
        self.banned = banned
        self._save_errors: list[Exception] = []
        self.engine: Any = self._start(self._load())
        self.work, self.peak = FlopCount(self.policy), peak_of(recipe)
        self.reference: Any = None  # with LoRA it is the policy itself, without its adapters
        if recipe.keeps_reference and recipe.lora_rank is None:
            self.reference = self._start_reference(self._load())

    def _load(self) -> Any:
        """The first weights, for `_spread`."""
        from .logprobs import Scorer

        policy = load(self.recipe, self.model_info, self.renderer, self.ranks)
        return Scorer(policy, self.banned, lockstep=self.stage == 3)

    def _spread(self, scorer: Any) -> None:
        """Send the first rank's weights to all, at stage 3 in parts."""
        spread(scorer, self.ranks, self.config if self.stage == 3 else None)

    def _start_reference(self, scorer: Any) -> Any:
        """Freeze a model; at stage 3 DeepSpeed partitions it."""
        import deepspeed

        scorer.requires_grad_(False).eval()
        self._spread(scorer)
        if self.stage < 3:
            return scorer
        keys = ("zero_optimization", "bf16", "train_micro_batch_size_per_gpu")
        engine, *_ = deepspeed.initialize(
            model=scorer, config={key: self.config[key] for key in keys}
        )
        return engine

    def _start(self, scorer: Any) -> Any:
        """Start DeepSpeed around the model that is trained."""
        import deepspeed
        import torch

        recipe = self.recipe
        if recipe.gradient_checkpointing:
            scorer.policy.gradient_checkpointing_enable({"use_reentrant": False})
        freeze_parts(scorer.policy, recipe.freeze, self.model_info.id)
        if recipe.lora_rank is not None:
            parts = recipe.lora_parts
            layers = lora.linear_layers(scorer.policy, part_of, parts, self.model_info.id)
            lora.add_adapters(scorer.policy, recipe, layers)
            scorer.register_state_dict_post_hook(lora.keep_adapters)
            scorer.register_load_state_dict_post_hook(lora.check_adapters)
        kind: Any = deepspeed.ops.adam.DeepSpeedCPUAdam if recipe.cpu_adam else torch.optim.AdamW
        groups = decay_groups(scorer, recipe)
        self._spread(scorer)
        optimizer = kind(groups, lr=recipe.lr, betas=recipe.betas)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lr_factor(recipe))
        engine, *_ = deepspeed.initialize(
            model=scorer, optimizer=optimizer, lr_scheduler=scheduler, config=self.config
        )
        engine.train()
        # `save_checkpoint` has collectives after each of these: a rank on which one raised would
        # leave the others waiting. Its other calls of `makedirs` catch what they raise.
        for holder, name in ((engine.checkpoint_engine, "save"), (engine, "_copy_recovery_script")):
            setattr(holder, name, capturing_errors(getattr(holder, name), self._save_errors))
        return engine

    @property
    def saved(self) -> str:
        """The folder of a checkpoint that `save_model` writes."""
        return "model" if self.recipe.lora_rank is None else "adapter"

    @property
    def policy(self) -> Any:
        """The Hugging Face model; at ZeRO-3 its parameters are partitioned."""
        return self.engine.module.policy

    def score(self, batch: Batch, *, reference: bool = False, probe: bool = False) -> Tensor:
        """Log-probabilities of a batch's response tokens, without gradients, `(N,)` on the CPU.

        Args:
            batch: The tokens.
            reference: Score with the frozen first model.
            probe: Score with the bare model: temperature 1, no banned tokens.
        """
        import torch

        from .logprobs import score_batch

        bare = reference and self.recipe.lora_rank is not None
        module = self.reference if reference and not bare else self.engine
        with torch.no_grad(), lora.switched_off(self.policy) if bare else nullcontext():
            logprobs, _ = score_batch(
                module,
                batch,
                temperature=1.0 if probe else self.recipe.policy_temperature,
                bans=not probe,
            )
        return logprobs.cpu()

    def update(
        self, plan: Sequence[Micro], loss_of: Callable[[Micro], Tensor], step: int
    ) -> dict[str, float]:
        """Update the weights once; all ranks call, with the same number of micro-batches.

        Args:
            plan: The micro-batches.
            loss_of: A micro-batch's share of the loss; the loss is the sum over all ranks.
            step: Step number, for error messages.

        Returns:
            `loss`, and `grad_norm` before clipping.

        Raises:
            TrainError: the loss or the gradient is NaN or inf; the weights are not updated.
        """
        loss = 0.0
        for number, micro in enumerate(plan, start=1):
            share = loss_of(micro)
            self.engine.set_gradient_accumulation_boundary(number == len(plan))
            self.engine.backward(share * self.ranks.world)  # DeepSpeed's mean becomes a sum
            loss += float(share.detach())
        loss = sum(self.ranks.gather(loss))
        self._check(loss, f"the loss of step {step}")
        norm = self._step()
        self._check(norm, f"the norm of the gradient of step {step}")
        return {"loss": loss, "grad_norm": norm}

    def _check(self, number: float, what: str) -> None:
        """Stop on NaN or inf; the number is the same on all ranks."""

        def check() -> None:
            if not math.isfinite(number):
                raise TrainError(
                    f"{what} is {number}; nothing was updated. The last lines of rollouts/ are "
                    "the responses of this step; a smaller lr or max_grad_norm may help"
                )

        self.ranks.on_all_ranks(check)

    def _step(self) -> float:
        """Apply the gradients unless their norm is NaN or inf; return the norm."""
        import torch

        if self.stage:  # DeepSpeed itself skips an update that is NaN or inf
            self.engine.step()
            norm = self.engine.get_global_grad_norm()
            return math.inf if norm is None else float(norm)
        grads = [p.grad for p in self.engine.module.parameters() if p.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(grads))
        if math.isfinite(norm):
            self.engine.step()
        return norm

    def weights(self, *, tied: bool = True) -> Iterator[tuple[str, Tensor]]:
        """Yield every parameter, complete, with its name in the Hugging Face model.

        With LoRA each weight is merged with its adapter, one at a time. At ZeRO-3 each parameter is
        gathered in turn, so all ranks must iterate together.

        Args:
            tied: Yield tied parameters under all of their names. vLLM needs this: it would
                otherwise keep an old head, with only a warning.
        """
        adapted = lora.adapted_layers(self.policy) if self.recipe.lora_rank is not None else {}
        for name, parameter in self.policy.named_parameters(remove_duplicate=not tied):
            layer = adapted.get(name)
            if adapted and lora.is_adapter(name):
                continue
            with self._gathered([parameter, *(lora.matrices(layer) if layer is not None else ())]):
                if layer is not None:
                    whole = lora.merged(layer)
                else:
                    # vLLM may keep a layer's tensors until it has all; gathered ones are freed.
                    whole = parameter.data.clone() if self.stage == 3 else parameter.data
            yield name.replace(lora.BASE, ".") if adapted else name, whole

    def _gathered(self, parameters: list[Tensor]) -> AbstractContextManager[Any]:
        """Make parameters complete at ZeRO-3; all ranks call."""
        import deepspeed

        if self.stage < 3:
            return nullcontext()
        gathered: AbstractContextManager[Any] = deepspeed.zero.GatheredParameters(parameters)
        return gathered

    def save_states(self, folder: Path) -> None:
        """Write weights, optimizer and schedule, one part per rank; all ranks call.

        With LoRA only the adapters' weights are written.

        Raises:
            OSError, RuntimeError: this rank cannot write; raised after all ranks have finished.
        """
        self._save_errors.clear()
        self.engine.save_checkpoint(
            str(folder),
            tag="deepspeed",
            save_latest=False,
            exclude_frozen_parameters=self.recipe.lora_rank is not None,
        )
        if self._save_errors:
            raise self._save_errors[0]

    def load_states(self, folder: Path) -> None:
        """Read what `save_states` wrote; with LoRA the other weights are those of the base.

        Raises:
            Exception: of many kinds: files that cannot be read, or that do not fit this model.
        """
        self.engine.load_checkpoint(str(folder), tag="deepspeed")

    def save_model(self, folder: Path) -> None:
        """Write the weights as a plain Hugging Face folder; all ranks call, the first one writes.

        With LoRA the folder is the adapter.

        Raises:
            OSError: the folder cannot be written.
        """
        state: dict[str, Tensor] = {}
        if self.recipe.lora_rank is not None:
            for name, parameter in self.policy.named_parameters():
                if lora.is_adapter(name):
                    with self._gathered([parameter]):
                        if self.ranks.first:
                            state[name] = parameter.detach().to("cpu", copy=True)
            if self.ranks.first:
                lora.write_adapter(self.policy, state, folder)
            return
        for name, tensor in self.weights(tied=False):
            if self.ranks.first:
                state[name] = tensor.detach().to("cpu", copy=True)
        if self.ranks.first:
            self.policy.save_pretrained(folder, state_dict=state, safe_serialization=True)
            self.renderer.processor.save_pretrained(folder)
            for file in folder.iterdir():
                file.chmod(0o644)  # safetensors makes files that only their owner can read


def capturing_errors(act: Callable[..., None], errors: list[Exception]) -> Callable[..., None]:
    """The same function, which appends its exceptions to a list instead of raising them."""

    def captured(*args: Any, **kwargs: Any) -> None:
        try:
            act(*args, **kwargs)
        except Exception as error:
            errors.append(error)

    return captured


def lr_factor(recipe: Training) -> Callable[[int], float]:
    """The learning rate of an update as a fraction of its peak: warm-up, then the schedule."""

    def factor(update: int) -> float:
        if update < recipe.warmup_steps:
            return (update + 1) / recipe.warmup_steps
        if recipe.schedule == "constant" or recipe.schedule_steps is None:
            return 1.0
        span = max(1, recipe.schedule_steps - recipe.warmup_steps)
        done = min(1.0, (update - recipe.warmup_steps) / span)
        left = 1 - done if recipe.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
        return recipe.lr_floor + (1 - recipe.lr_floor) * left

    return factor


# Components of parameter names that identify the parts of Hugging Face models.
PROJECTORS = frozenset(
    "merger deepstack_merger_list multi_modal_projector connector aligner mlp1".split()
)
TOWERS = frozenset("visual vision_tower vision_model".split())


def part_of(name: str) -> str:
    """The part of a vision-language model that a parameter belongs to: see `Training.freeze`."""
    words = set(name.split("."))
    if words & PROJECTORS:
        return "projector"
    return "vision" if words & TOWERS else "language"


def freeze_parts(policy: Any, parts: Sequence[str], model_id: str) -> None:
    """Freeze parts of a model.

    Raises:
        UsageError: the model does not have such a part, or nothing is left to train.
    """
    named = dict(policy.named_parameters())
    known = {part_of(name) for name in named}
    for part in parts:
        if part not in known:
            raise UsageError(f"freeze {part}: {model_id} has no such part; it has {sorted(known)}")
    if known <= set(parts):
        raise UsageError(f"freeze {', '.join(parts)}: nothing of {model_id} is left to train")
    for name, parameter in named.items():
        if part_of(name) in parts:
            parameter.requires_grad_(False)


def decay_groups(scorer: Any, recipe: Training) -> list[dict[str, Any]]:
    """The optimizer's parameter groups: with and without weight decay."""
    trained = [p for p in scorer.parameters() if p.requires_grad]
    if recipe.decay == "all":
        return [{"params": trained, "weight_decay": recipe.weight_decay}]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]  # adapters are all matrices
