"""Under torchrun, in one start: ZeRO-2 and ZeRO-3 by transformers rollouts, then ZeRO-3 by vLLM.

The first ZeRO-3 is as strict as a large model makes it: every parameter is in pieces, gathered for
each use and let go after it, and ranks differ in how many pieces their log-probs are computed.

python -m torch.distributed.run --standalone --nproc_per_node 2 -m tests.two_ranks FOLDER
"""

from __future__ import annotations

import json
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
    "zero3": {"gradient_checkpointing": True},
    "vllm": {"deepspeed": "zero3", "backend": "vllm", "engine_args": {"max_model_len": 512}},
}

STRICT = {
    "stage": 3,
    "stage3_param_persistence_threshold": 0,
    "stage3_max_live_parameters": 0,
    "stage3_max_reuse_distance": 0,
}

if __name__ == "__main__":
    from tests.training import small_recipe
    from vsr1_bench.train import logprobs
    from vsr1_bench.train.grpo import train

    folder = Path(sys.argv[1])
    strict = folder / "zero3.json"
    strict.write_text(json.dumps({"zero_optimization": STRICT}))
    for name, changes in WAYS.items():
        logprobs.CHUNK = 24 if name == "zero3" else 1024
        where = {"deepspeed": str(strict)} if name == "zero3" else {}
        train(small_recipe(folder / name, **TWO, **changes | where))
