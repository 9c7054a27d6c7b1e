"""Check that this machine has the devices that a backend should use, before it starts.

Without the check, an engine would wait for ever for the ranks of missing GPUs.
"""

from __future__ import annotations

from vsr1_bench.errors import UsageError
from vsr1_bench.generation.base import BackendArgs
from vsr1_bench.generation.flags import RUN_FLAGS, Flags

SIZES = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")


def check_devices(
    backend: str, args: BackendArgs, *, served: bool = False, flags: Flags = RUN_FLAGS
) -> None:
    """Refuse more devices than there are.

    Args:
        backend: Its name, for the message.
        args: Its arguments.
        served: Whether a server runs it; only a server supports data parallelism.
        flags: The names of the arguments, for the message.

    Raises:
        UsageError: there are fewer devices.
    """
    given = args.model_dump()
    sizes = {name: int(given.get(name, 1)) for name in SIZES}
    if wrong := next((name for name, size in sizes.items() if size < 1), None):
        raise UsageError(f"{wrong} {sizes[wrong]}: wanted a whole number of at least 1")
    if sizes["data_parallel_size"] > 1 and not served:
        raise UsageError(
            f"{flags.args} data_parallel_size: run `vsr1-bench serve` with it and point "
            f"{flags.base_url} at the server, or use shards (--shard i/n)"
        )
    wanted = 1
    for size in sizes.values():
        wanted *= size
    if wanted > 1 and wanted > max(1, there := gpu_count()):
        sizes_given = " × ".join(f"{name} {size}" for name, size in sizes.items() if size > 1)
        raise UsageError(
            f"{sizes_given}: wants {wanted} GPUs, this machine has {there or 'none'}; give at most "
            f"{max(1, there)}, or serve the model where they are and point "
            f"{flags.base_url} there"
        )
    _check_named(backend, str(given.get("device") or ""))


def _check_named(backend: str, device: str) -> None:
    kind, _, number = device.partition(":")
    if kind != "cuda" or (number and not number.isdigit()):
        return  # `auto`, `cpu`, or something that torch itself knows
    if int(number or 0) >= (there := gpu_count()):
        raise UsageError(
            f"--device {device}: backend {backend!r} finds {there or 'no'} GPUs here"
            + (f", cuda:0 to cuda:{there - 1}" if there else "; drop the flag, or give cpu")
        )


def gpu_count() -> int:
    """Number of GPUs that torch can use here."""
    import torch

    return torch.cuda.device_count()
