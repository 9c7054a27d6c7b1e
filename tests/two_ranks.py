"""Under torchrun, in one start: ZeRO-2 and ZeRO-3 by transformers rollouts, then ZeRO-3 by vLLM.

python -m torch.distributed.run --standalone --nproc_per_node 2 -m tests.two_ranks FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

TWO: dict[str, Any] = {
    "prompts_per_step": 2,
    "minibatch_prompts": 2,
    "max_steps": 3,
    "beta": 0.01,
}
WAYS: dict[str, dict[str, Any]] = {
    "zero2": {"deepspeed": "zero2"},
    "zero3": {"deepspeed": "zero3"},
    "vllm": {"deepspeed": "zero3", "backend": "vllm", "engine_args": {"max_model_len": 512}},
}

if __name__ == "__main__":
    from tests.training import small_recipe
    from vsr1_bench.train.grpo import train

    for name, changes in WAYS.items():
        train(small_recipe(Path(sys.argv[1]) / name, **TWO, **changes))
