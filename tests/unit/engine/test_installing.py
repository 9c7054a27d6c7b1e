"""Commands that install what is missing, the choice of a backend, and a quiet standard error."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from vsr1_bench._util import installing
from vsr1_bench._util.installing import install_command
from vsr1_bench.generation import open as opening
from vsr1_bench.generation.models import ModelInfo
from vsr1_bench.tools import doctor


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(installing, "CHECKOUT", tmp_path)
    return tmp_path


def test_a_checkout_is_installed_from_any_folder(checkout: Path) -> None:
    assert install_command("local") == f"pip install '{checkout}[local]'"


def test_what_make_has_set_up_is_completed_by_make(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / ".tool").mkdir()
    monkeypatch.setattr(sys, "prefix", str(checkout / ".venv"))
    assert install_command("plots") == f"make -C {checkout} setup"


def test_an_installed_package_names_what_the_extra_consists_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is on no registry yet: its own name would not install."""
    monkeypatch.setattr(installing, "CHECKOUT", tmp_path)
    declared = [
        "numpy>=2.0",
        'torch>=2.10; extra == "demo"',
        'vsr1-bench[demo]; extra == "local"',
        'torchvision>=0.25; extra == "local"',
    ]
    monkeypatch.setattr(installing, "requires", lambda name: declared)
    assert install_command("local") == "pip install 'torch>=2.10' 'torchvision>=0.25'"


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelInfo:
    """A model on a machine without a GPU, with vLLM and transformers."""
    monkeypatch.setattr(opening, "find_spec", lambda name: True)
    monkeypatch.setattr(opening, "_on_cpu", lambda: True)
    (tmp_path / "model.safetensors").write_bytes(b"0" * 100)
    return ModelInfo("m", "f", path=tmp_path)


def test_auto_takes_transformers_for_a_small_model_on_a_cpu(
    model: ModelInfo, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert opening.suited_backend("auto", "vllm", model, {"batch_size": 4}) == "transformers"
    assert "backend transformers: m has" in caplog.text
    assert "--backend vllm" in caplog.text


@pytest.mark.parametrize("why", ["named", "large", "GPU", "argument", "no torch", "no weights"])
def test_otherwise_vllm_stays(model: ModelInfo, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if why == "large":
        monkeypatch.setattr(opening, "SMALL", 99)
    elif why == "GPU":
        monkeypatch.setattr(opening, "_on_cpu", lambda: False)
    elif why == "no torch":
        monkeypatch.setattr(opening, "find_spec", lambda name: name == "vllm")
    elif why == "no weights":
        model = replace(model, path=None)
    args = {"gpu_memory_utilization": 0.5} if why == "argument" else {}
    asked = "vllm" if why == "named" else "auto"
    assert opening.suited_backend(asked, "vllm", model, args) == "vllm"


def test_doctor_imports_no_engine(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from vsr1_bench.tools.doctor import diagnose\n"
        f"print(len(diagnose(Path({str(tmp_path)!r}))))\n"
        "print(sorted({'torch', 'vllm', 'transformers', 'pandas'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[1:] == ["[]"], done.stderr


def test_doctor_deep_tries_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(doctor, "_installed", lambda *names: f"{names[0]} 1")
    monkeypatch.setattr(doctor, "_try_torchvision", broken)
    monkeypatch.setattr(doctor, "_try_vllm", lambda: None)
    findings = {f.what: f for f in doctor._backends(deep=True)}
    assert findings["backend transformers"].works is False
    assert "nms does not exist" in findings["backend transformers"].state
    assert all(f.works for f in doctor._backends(deep=False))


def test_warnings_of_other_packages_are_silent_and_ours_are_not() -> None:
    program = (
        "import warnings\n"
        "from vsr1_bench.cli.streams import quiet_libraries\n"
        "quiet_libraries()\n"
        "for name in ('torch.nn', 'vsr1_bench.task'):\n"
        "    warnings.warn_explicit(f'of {name}', FutureWarning, 'f.py', 1, module=name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "of vsr1_bench.task" in done.stderr
    assert "of torch.nn" not in done.stderr
