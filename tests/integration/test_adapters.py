"""An adapter is evaluated by each backend as peft itself runs it."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")

from adapters import make_adapter, plain_tiny  # noqa: E402
from cli import here  # noqa: E402
from models import by_key, demo_requests  # noqa: E402

from vsr1_bench.errors import ModelError  # noqa: E402
from vsr1_bench.generation.adapters import find_adapter, merge, write_merged  # noqa: E402
from vsr1_bench.generation.models import find_model  # noqa: E402
from vsr1_bench.generation.open import open_generator  # noqa: E402


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(tmp_path_factory.mktemp("adapter") / "mine")


def texts(backend: str, adapter: Path | None, args: dict[str, Any] | None = None) -> dict[str, str]:
    model = find_model("tiny", backend=backend, adapter=str(adapter) if adapter else None)
    with open_generator(backend, model, args or {}) as generator:
        done = by_key(list(generator.generate(demo_requests(6, max_tokens=40))))
    assert all(one.error is None for one in done.values())
    return {key: one.text for key, one in sorted(done.items())}


def test_merged_logits_are_those_of_peft(adapter: Path) -> None:
    """Merged here, and side by side in peft's own module: the same within fp32 rounding."""
    ids = torch.tensor([[1, 5, 9, 3]])
    with torch.no_grad():
        plain = plain_tiny()(input_ids=ids).logits
        apart = peft.PeftModel.from_pretrained(plain_tiny(), str(adapter))(input_ids=ids).logits
        merged = merge(plain_tiny(), find_adapter(str(adapter)), "tiny")(input_ids=ids).logits
    torch.testing.assert_close(merged, apart, rtol=0, atol=1e-3)
    assert (merged - plain).abs().max() > 0.1


def test_transformers_and_vllm_give_the_same_answers(adapter: Path, tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    before = {path.name for path in Path(tempfile.gettempdir()).glob("vsr1-merged-*")}
    base, ours = texts("transformers", None), texts("transformers", adapter)
    assert base != ours
    assert texts("vllm", adapter, {"max_model_len": 1024, "enforce_eager": True}) == ours
    after = {path.name for path in Path(tempfile.gettempdir()).glob("vsr1-merged-*")}
    assert after <= before, "the merged weights were left behind"
    merged = tmp_path / "merged"
    write_merged(find_model("tiny", backend="vllm"), find_adapter(str(adapter)), "float32", merged)
    model = find_model(str(merged), backend="transformers")
    with open_generator("transformers", model, {}) as generator:
        done = by_key(list(generator.generate(demo_requests(6, max_tokens=40))))
    assert {key: one.text for key, one in sorted(done.items())} == ours


def test_an_adapter_that_does_not_fit_is_refused(adapter: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = adapter / "adapter_model.safetensors"
    less = load_file(file)
    first = min(less)
    more = less | {first.replace("layers.0", "layers.77"): less[first].clone()}
    wider = less | {first: torch.zeros(4, 3)}
    broken = less | {first: torch.full_like(less[first], float("nan"))}
    less = {name: value for name, value in less.items() if name != first}
    for number, state in enumerate((less, more, wider, broken)):
        other = shutil.copytree(adapter, tmp_path / str(number))
        save_file(state, other / file.name)
        with pytest.raises(ModelError, match=f"adapter '{number}' does not fit model 'tiny") as bad:
            merge(plain_tiny(), find_adapter(str(other)), "tiny")
        assert "\n" not in str(bad.value)


def test_a_run_with_an_adapter_is_stored_listed_and_compared(adapter: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    words = ["--model", "tiny", "--backend", "transformers", "--tasks", "demo", "--limit", "6"]
    words += ["--output_path", str(runs), "--gen_kwargs", "max_tokens=40"]
    assert here(*words).returncode == 0
    done = here(*words, "--adapter", str(adapter))
    assert done.returncode == 0, done.stderr
    assert "tiny+mine" in done.stdout
    again = here(*words, "--adapter", str(adapter))
    assert "6 of 6 responses" in again.stderr  # from the store: the same content is the same run
    (stored,) = (runs / "tiny+mine").glob("demo-*/run.json")
    assert json.loads(stored.read_text())["spec"]["model"]["adapter"]
    table = here("table", str(runs)).stdout
    assert "tiny+mine" in table and "peft" not in table
    (base,) = (runs / "tiny").glob("demo-*")
    compared = here("compare", str(base), str(stored.parent)).stdout
    assert "tiny+mine" in compared
    explained = here("table", str(runs), "--explain_diff", str(base), str(stored.parent)).stdout
    assert "model.adapter" in explained
    rerun = here("rerun", str(stored.parent), "--dry_run", "--output_path", str(tmp_path / "new"))
    assert f"--adapter {adapter}" in rerun.stdout
    assert "Nothing that is recorded would differ." in rerun.stdout


def test_reading_an_adapter_imports_nothing_heavy(adapter: Path) -> None:
    """`table` and `rerun` of such a run stay light."""
    import subprocess

    code = (
        "import sys; from vsr1_bench.generation.adapters import find_adapter; "
        f"find_adapter({str(adapter)!r}); print(sorted({{'torch','peft'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
