"""A rank that reads no weights gets the first one's: every family, tied heads, hidden buffers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers", reason="the local extra is not installed here")

from tests.models import tiny  # noqa: E402
from tests.random_models import FAMILIES, write  # noqa: E402
from tests.training import small_sft  # noqa: E402
from vsr1_bench.errors import ModelError  # noqa: E402
from vsr1_bench.generation.models import ModelInfo, find_model  # noqa: E402
from vsr1_bench.train.core import loading  # noqa: E402
from vsr1_bench.train.core.ranks import Ranks  # noqa: E402

SEES: Any = SimpleNamespace(sees=True)
IDS = torch.tensor([[1, 5, 9, 3]])


class Second(Ranks):
    """The second of two ranks; `told` is what the first one gathers and broadcasts."""

    def __init__(self, told: list[Any]) -> None:
        super().__init__(1, 2)
        object.__setattr__(self, "told", iter(told))

    def gather(self, value: Any) -> list[Any]:
        return [next(self.told), value]


def made(family: str, folder: Path) -> ModelInfo:
    return find_model(str(write(family, folder / family)), backend="transformers")


def both(folder: Path, family: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """The models of two ranks after loading; the first one's tensors are passed on by hand."""
    model = tiny() if family == "tiny" else made(family, folder)
    recipe = small_sft(folder / "run", dataset=("tiny/glances",), dtype="bfloat16")
    recipe = recipe.model_copy(update={"deepspeed": "zero2", "packing": False})
    alone = Ranks(0, 1)
    monkeypatch.setattr(Ranks, "gather", lambda self, value: [value])
    first = loading.load(recipe, model, SEES, alone)
    sent: list[Any] = []
    monkeypatch.setattr(loading, "_broadcast", lambda tensor, ranks: sent.append(tensor.clone()))
    loading.spread(first, alone)
    own = [
        (name, tuple(t.shape), str(t.dtype))
        for named in (first.named_parameters(), first.named_buffers())
        for name, t in named
    ]
    values = iter(sent)
    monkeypatch.setattr(loading, "_broadcast", lambda tensor, ranks: tensor.copy_(next(values)))
    # Loading, comparing what they have: no failure; then the first one's list.
    second = Second([None, own, None])
    other = loading.load(recipe, model, SEES, second)
    assert {p.device.type for p in other.parameters()} == {"meta"}
    kept = list(other.parameters())
    loading.spread(other, second)
    assert next(values, None) is None
    assert all(a is b for a, b in zip(kept, other.parameters(), strict=True))
    return first, other


@pytest.mark.parametrize("family", ["tiny", *FAMILIES])
def test_a_rank_that_reads_nothing_has_the_first_one_s_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    first, other = two = both(tmp_path, family, monkeypatch)
    for ours, theirs in zip(tensors(first), tensors(other), strict=True):
        assert ours[0] == theirs[0]
        assert ours[1].dtype == theirs[1].dtype and torch.equal(ours[1], theirs[1]), ours[0]
    tied = [m.get_output_embeddings().weight is m.get_input_embeddings().weight for m in two]
    assert tied[0] == tied[1]
    with torch.no_grad():
        logits = [model.eval()(input_ids=IDS).logits for model in (first, other)]
    assert torch.equal(*logits)


def tensors(model: Any) -> Iterator[tuple[str, Any]]:
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def test_ranks_with_different_models_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        ours = torch.nn.Linear(4, 2)
    theirs = [("weight", (2, 3), "torch.float32"), ("bias", (2,), "torch.float32")]
    monkeypatch.setattr(Ranks, "on_all_ranks", lambda self, act: act())
    with pytest.raises(ModelError, match=r"different models: 2 tensors differ.*'weight'") as error:
        loading.spread(ours, Second([theirs]))
    assert "\n" not in str(error.value)
