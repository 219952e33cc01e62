"""Starting the processes of a training by torchrun: one for each GPU of a job, on one node or several."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence

# Seconds that processes have to write their state once one of them was stopped.
SHUTDOWN = 300
# Below the ports that the kernel hands out to connections.
FIRST_PORT, PORTS = 10_000, 8_000


def is_worker() -> bool:
    """Whether torchrun has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def node_count(environment: Mapping[str, str] = os.environ) -> int:
    """Nodes of this Slurm job step; 1 outside Slurm."""
    return int(environment.get("SLURM_STEP_NUM_NODES", "1"))


def rendezvous(environment: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Where the processes meet, and by what name: from Slurm's variables, or on this machine.

    The first node of the job starts the step, and so its address is known to all. The port follows from the
    number of the job, since two jobs may share a node.
    """
    if node_count(environment) == 1:
        return "127.0.0.1:0", f"tfbind-{os.getpid()}"
    job, step = int(environment["SLURM_JOB_ID"]), environment.get("SLURM_STEP_ID", "0")
    address = environment["SLURM_LAUNCH_NODE_IPADDR"]
    return f"{address}:{FIRST_PORT + job % PORTS}", f"tfbind-{job}.{step}"


def launch(arguments: Sequence[str], processes: int, *, threads: int | None = None) -> int:
    """Run `tfbind ARGUMENTS` in several processes that know of each other, to their end.

    Parameters
    ----------
    processes
        On this node. On the other nodes of a Slurm step, the same is to be called.
    threads
        CPU threads of each; as torch chooses if not given.

    Returns
    -------
    0, or the exit status of the first process that failed; it has said why.
    """
    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    endpoint, name = rendezvous()
    nodes = node_count()
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    with tempfile.TemporaryDirectory(prefix="tfbind-") as folder:
        config = LaunchConfig(
            min_nodes=nodes,
            max_nodes=nodes,
            nproc_per_node=processes,
            run_id=name,
            rdzv_backend="c10d",
            rdzv_endpoint=endpoint,
            # By the name of its machine, a node may not know that the address is its own.
            rdzv_configs={} if nodes == 1 else {"is_host": os.environ["SLURM_NODEID"] == "0"},
            local_addr="127.0.0.1" if nodes == 1 else None,
            # Snakemake starts a failed job again, from its last state.
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=folder),
            shutdown_timeout=SHUTDOWN,
            signals_to_handle="SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1",
        )
        try:
            elastic_launch(config, sys.executable)("-m", "tfbind", *arguments)
        except ChildFailedError as error:
            _, failure = error.get_first_failure()
            # Killed by a signal: as a shell says it.
            return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode
        except SignalException as error:
            return 128 + error.sigval
    return 0
