"""lmms-eval, both ways: its tasks through our generation path, our generator as its model.

    --tasks lmms_eval/NAME    the engine calls `harness`: `index` finds the task, `loading` loads
                              it, `data` turns its documents into samples, and `scoring` has
                              `worker` score them with the task's own code
    lmms_eval --model vsr1    `model`, registered by `entry`

lmms-eval is an optional package for a separate environment (docs/lmms-eval.md). Only `loading`,
`worker`, `model` and `entry` import it; stored runs of its tasks are shown without it.
"""

NAME = "lmms_eval"
"""Name of this harness: the part before the `/` in its tasks' names, and its judge's name."""
