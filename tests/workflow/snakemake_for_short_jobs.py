"""Snakemake, but each second it looks whether jobs on a cluster have ended.

Its executor for Slurm waits 10 s longer after every look that found none, whatever it is told to begin with, and
jobs of the tests take a few seconds.
"""

from __future__ import annotations

import asyncio

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor


async def _sleep(_: RemoteExecutor) -> None:
    await asyncio.sleep(1)


if __name__ == "__main__":
    RemoteExecutor.sleep = _sleep
    main()
