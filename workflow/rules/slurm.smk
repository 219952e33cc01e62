# Runs on Slurm, across kills of Snakemake itself: what is left of the run before, and locks.

import sys

from tfbind.slurm import (
    cancel_leftovers,
    check_status_command,
    forget_run,
    lock_hint,
    record_run,
    run_id,
)

SLURM_RUN = Path(".snakemake/slurm_runs", f"{CONFIG.name}.json")


def begin_run(logs):
    """Cancel what a killed run left on Slurm; then, on Slurm, note this run before its first job is submitted."""
    try:
        cancel_leftovers(SLURM_RUN)
        run = run_id(logs)
        if run is not None:
            check_status_command(workflow.executor_settings.status_command)
            record_run(SLURM_RUN, run)
    except InputError as error:
        raise WorkflowError(str(error)) from None


def tell_of_lock():
    """Say what to type where Snakemake is about to refuse to start."""
    # Also read by the jobs of a run, which ignore its lock, and by the report that it makes of itself.
    ignored = {"--unlock", "--nolock"} & set(sys.argv)
    if workflow.remote_exec or workflow.subprocess_exec or ignored:
        return
    hint = lock_hint(Path(".snakemake/locks"), RESULTS, ["snakemake", *sys.argv[1:]])
    if hint:
        print(hint, file=sys.stderr)


tell_of_lock()
