"""Load a model for training, without a second whole copy of it anywhere.

The first rank alone reads the weights, into the memory of its machine; the others know the shapes.
The parameters then go to all ranks one by one, and at ZeRO-3 each is divided before the next one is
sent. So all machines together hold one whole copy while it lasts, and a card never holds more than
its share and one parameter.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vsr1_bench.errors import ModelError
from vsr1_bench.generation.attention import attention_settings, set_attention
from vsr1_bench.generation.models import ModelInfo

from .packed import set_packing
from .ranks import Ranks
from .settings import Training

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vsr1_bench.generation.chat import ChatRenderer


def attention_of(recipe: Training) -> dict[str, str]:
    """The recipe's attention as arguments of transformers.

    Raises:
        UsageError: this attention cannot run here.
    """
    return attention_settings(recipe.attention, recipe.dtype, _device(), "attention")


def load(recipe: Training, model: ModelInfo, renderer: ChatRenderer, ranks: Ranks) -> Any:
    """The Hugging Face model: with weights on the first rank, on the meta device on the others.

    All ranks call.

    Raises:
        ModelError: the model cannot be loaded.
        UsageError: its attention cannot run here, or not with `packing=true`.
    """
    from vsr1_bench.generation.chat import cannot_load

    def act() -> Any:
        settings = attention_of(recipe)
        try:
            policy = _read(recipe, model, renderer, settings, whole=ranks.first)
            set_attention(policy, recipe.attention, _device())
        except Exception as error:  # the library raises many kinds, all about this folder
            raise cannot_load(model, "transformers", error) from error
        set_packing(policy, recipe.packing)
        return policy

    return ranks.on_all_ranks(act)


def _read(
    recipe: Training,
    model: ModelInfo,
    renderer: ChatRenderer,
    settings: dict[str, str],
    *,
    whole: bool,
) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    kind = AutoModelForImageTextToText if renderer.sees else AutoModelForCausalLM
    dtype = getattr(torch, recipe.dtype)
    if whole:
        return kind.from_pretrained(model.path, dtype=dtype, use_safetensors=True, **settings)
    with torch.device("meta"):
        config = AutoConfig.from_pretrained(model.path)
        return kind.from_config(config, dtype=dtype, **settings)


def spread(module: nn.Module, ranks: Ranks, config: dict[str, Any] | None = None) -> None:
    """Give all ranks the first rank's parameters and buffers, on their cards; all ranks call.

    Args:
        module: What `load` returned, or a module around it.
        ranks: The ranks.
        config: DeepSpeed's settings if the parameters are to be divided (ZeRO-3); None = each rank
            gets them whole.

    Raises:
        ModelError: the ranks do not have the same model.
    """
    _compare(module, ranks)
    _spread_buffers(module, ranks)
    sent = _sent(module, ranks)
    if config is None:
        for parameter in sent:
            _broadcast(parameter.data, ranks)
        return
    import deepspeed
    from torch.nn import ParameterList

    first = next(sent)
    deepspeed.zero.Init(module=ParameterList([first]), config_dict_or_path=config)
    first.convert_to_zero_parameters(param_list=sent)  # it sends and divides one after another


def _compare(module: nn.Module, ranks: Ranks) -> None:
    """Refuse ranks whose parameters or buffers differ in name, shape or type."""

    def described(named: Iterator[tuple[str, Tensor]]) -> list[tuple[str, tuple[int, ...], str]]:
        return [(name, tuple(t.shape), str(t.dtype)) for name, t in named]

    own = described(module.named_parameters()) + described(module.named_buffers())

    def check() -> None:
        odd = set(own) ^ set(first)
        if odd or own != first:
            raise ModelError(
                f"this rank and the first one have different models: {len(odd)} tensors differ, "
                f"first {min(odd, default='in their order')}; do they read the same folder?"
            )

    first = ranks.gather(own if ranks.first else None)[0]
    ranks.on_all_ranks(check)


def _spread_buffers(module: nn.Module, ranks: Ranks) -> None:
    """Also those that are not stored, which DeepSpeed neither sends nor moves."""
    import torch

    moved: dict[int, tuple[Tensor, Tensor]] = {}  # the old ones, too, so that each id is its own
    for part in module.modules():
        for name, buffer in part._buffers.items():
            if buffer is None:
                continue
            if id(buffer) not in moved:
                own = torch.empty_like(buffer, device=_device()) if buffer.is_meta else buffer
                moved[id(buffer)] = buffer, own.to(_device()).contiguous()
                _broadcast(moved[id(buffer)][1], ranks)
            part._buffers[name] = moved[id(buffer)][1]


def _sent(module: nn.Module, ranks: Ranks) -> Iterator[Any]:
    """The parameters, each on this rank's card when its turn comes; they remain the same objects.

    The optimizer, and modules with tied weights, refer to these objects.
    """
    import torch
    from torch.nn import Parameter

    for parameter in module.parameters():
        if parameter.is_meta:
            empty = torch.empty_like(parameter, device=_device())
            real = Parameter(empty, requires_grad=parameter.requires_grad)
            torch.utils.swap_tensors(parameter, real)  # type: ignore[no-untyped-call]  # no types
        else:
            parameter.data = parameter.data.to(_device()).contiguous()
        yield parameter


def _broadcast(tensor: Tensor, ranks: Ranks) -> None:
    import torch
    import torch.distributed as dist

    if ranks.world > 1 and tensor.numel():
        flat = tensor.view(-1)  # bytes, because gloo does not know every type
        dist.broadcast(flat.view(torch.uint8), 0)


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
