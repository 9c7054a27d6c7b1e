"""The list of its tasks, read without importing it, against its own index."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

if not find_spec("lmms_eval"):
    pytest.skip("lmms-eval has an environment of its own", allow_module_level=True)

from vsr1_bench.lmms_eval.index import list_entries


def test_it_holds_the_names_kinds_files_and_members_of_its_own_index() -> None:
    from lmms_eval.tasks import TaskManager
    from loguru import logger

    logger.disable("lmms_eval")
    index = TaskManager().task_index
    found = list_entries()
    assert found.keys() == index.keys()
    assert len(found) > 1000
    for name, entry in found.items():
        assert entry.kind == index[name]["type"].removeprefix("python_"), name
        if entry.file is not None:
            assert str(entry.file) == index[name]["yaml_path"]
        else:
            assert list(entry.members) == index[name]["task"], name


def test_listing_imports_nothing_of_it() -> None:
    code = (
        "import sys; from vsr1_bench.cli.main import main; "
        "code = main(['ls', 'tasks', '--source', 'lmms_eval']); "
        "sys.exit(code or 'lmms_eval' in sys.modules or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert any(line.startswith("lmms_eval/mmmu_val ") and " task " in line for line in lines)
    assert any(line.startswith("lmms_eval/mmlu_pro ") and " group " in line for line in lines)
