"""Adapters on a bare model, without DeepSpeed: put in, switched off, merged, written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from adapters import plain_tiny  # noqa: E402
from training import small_sft  # noqa: E402

from vsr1_bench.errors import StoreError, UsageError  # noqa: E402
from vsr1_bench.generation.adapters import find_adapter, merge  # noqa: E402
from vsr1_bench.train.core import lora  # noqa: E402
from vsr1_bench.train.core.engine import part_of  # noqa: E402

RECIPE: dict[str, Any] = {
    "dataset": ("tiny/glances",),
    "schedule_steps": 2,
    "lora_rank": 4,
    "lora_alpha": 8,
    "freeze": (),
}
IDS = torch.tensor([[1, 5, 9, 3]])


def adapted(tmp_path: Path, *, drawn: bool = True, dtype: Any = torch.float32) -> Any:
    """The embedded model with adapters; `drawn` = B is random and not zero."""
    policy = plain_tiny().to(dtype)
    layers = lora.linear_layers(policy, part_of, ("language",), "tiny")
    lora.add_adapters(policy, small_sft(tmp_path, **RECIPE), layers)
    if drawn:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            for name, parameter in policy.named_parameters():
                if ".lora_B." in name:
                    torch.nn.init.normal_(parameter, std=0.3)
    return policy.to(dtype)


def logits(model: Any) -> Any:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def test_adapters_alone_are_trained_and_change_nothing_at_first(tmp_path: Path) -> None:
    policy, again = adapted(tmp_path, drawn=False), adapted(tmp_path, drawn=False)
    trained = {name for name, p in policy.named_parameters() if p.requires_grad}
    assert trained == {name for name, _ in policy.named_parameters() if lora.is_adapter(name)}
    layers = {name.split(".lora_")[0].rpartition(".")[2] for name in trained}
    assert layers == {*"q_proj k_proj v_proj o_proj gate_proj up_proj down_proj".split()}
    assert not any(".visual." in name or "lm_head" in name for name in trained)
    assert torch.equal(logits(policy), logits(plain_tiny()))
    # Drawn from the recipe's seed: the same on every rank.
    ours, theirs = dict(policy.named_parameters()), dict(again.named_parameters())
    assert all(torch.equal(ours[name], theirs[name]) for name in trained)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_switched_off_is_the_first_model_to_the_bit(tmp_path: Path, dtype: Any) -> None:
    policy = adapted(tmp_path, dtype=dtype)
    on = logits(policy)
    with lora.switched_off(policy):
        assert torch.equal(logits(policy), logits(plain_tiny().to(dtype)))
    assert torch.equal(logits(policy), on)
    assert (on - logits(plain_tiny().to(dtype))).abs().max() > 0.1
    with pytest.raises(RuntimeError, match="stop"), lora.switched_off(policy):
        raise RuntimeError("stop")
    assert torch.equal(logits(policy), on)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_merged_and_written_weights_are_those_of_peft(tmp_path: Path, dtype: Any) -> None:
    """The weights that are synced equal those of the stored adapter, merged: to the bit."""
    policy = adapted(tmp_path, dtype=dtype)
    ours = {
        name.replace(lora.BASE, "."): lora.merged(layer)
        for name, layer in lora.adapted_layers(policy).items()
    }
    state = {n: p.detach() for n, p in policy.named_parameters() if lora.is_adapter(n)}
    lora.write_adapter(policy, state, tmp_path / "first")
    lora.write_adapter(policy, state, tmp_path / "second")
    files = [sorted((tmp_path / name).iterdir()) for name in ("first", "second")]
    assert [a.read_bytes() for a in files[0]] == [b.read_bytes() for b in files[1]]
    adapter = find_adapter(str(tmp_path / "first"))
    theirs = dict(merge(plain_tiny().to(dtype), adapter, "tiny").named_parameters())
    assert len(ours) * 2 == len(state)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    plain = dict(plain_tiny().to(dtype).named_parameters())
    assert all((ours[name] - plain[name]).abs().max() > 1e-2 for name in ours)


def test_stored_adapters_must_be_those_of_the_model(tmp_path: Path) -> None:
    """A base weight may be missing, an adapter may not, and nothing may be left over."""
    policy = adapted(tmp_path)
    policy.register_state_dict_post_hook(lora.keep_adapters)
    policy.register_load_state_dict_post_hook(lora.check_adapters)
    state = policy.state_dict()
    assert state and all(map(lora.is_adapter, state))
    assert not any(policy.load_state_dict(state))
    name, *_ = sorted(state)
    moved = {key.replace("layers.0.", "layers.9."): value for key, value in state.items()}
    for wrong, said in (
        ({k: v for k, v in state.items() if k != name}, f"1 are missing and 0 .* first {name}"),
        (state | {"other.lora_A.x": state[name]}, "0 are missing and 1 have no place"),
        (moved, "14 are missing and 14 have no place"),
    ):
        with pytest.raises(StoreError, match=said) as error:
            policy.load_state_dict(wrong)
        assert "\n" not in str(error.value)


def test_a_part_without_linear_layers_is_refused() -> None:
    model = plain_tiny()
    both = lora.linear_layers(model, part_of, ("language", "projector"), "tiny")
    assert any("merger" in name for name in both) and any(".layers." in name for name in both)
    del model.model.visual
    with pytest.raises(UsageError, match="lora_target vision: tiny has no linear layers"):
        lora.linear_layers(model, part_of, ("vision",), "tiny")


def test_settings_that_do_not_apply_are_refused(tmp_path: Path) -> None:
    bare = {"dataset": ("tiny/glances",), "schedule_steps": 2}
    for changes, wanted in (
        ({"lora_alpha": 8}, "lora_alpha goes with lora_rank"),
        ({"lora_target": ("language",)}, "lora_target goes with lora_rank"),
        ({"lora_rank": 4, "lora_target": ("vision",)}, "lora_target without language"),
        ({"lora_rank": 4, "freeze": ("language",)}, "lora_target language: freeze names it"),
        ({"lora_rank": 4, "model": "tiny/untrained"}, "has random weights"),
    ):
        with pytest.raises(ValueError, match=wanted):
            small_sft(tmp_path, **bare | changes)
    plain, recipe = small_sft(tmp_path, **bare), small_sft(tmp_path, **RECIPE)
    older = plain.model_dump(mode="json")
    for key in ("lora_rank", "lora_alpha", "lora_target"):
        del older[key]
    assert not plain.changed(older), "checkpoints of earlier versions resume"
    assert plain.digest() != recipe.digest()
    assert any("lora_rank" in change for change in recipe.changed(older))
