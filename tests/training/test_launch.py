from __future__ import annotations

import pytest

from tfbind.training.launch import is_worker, node_count, rendezvous
from tfbind.training.processes import part

SLURM = {
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_JOB_ID": "123456",
    "SLURM_STEP_ID": "0",
    "SLURM_LAUNCH_NODE_IPADDR": "10.1.2.3",
}


def test_outside_slurm_the_processes_meet_on_this_machine(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert node_count({}) == 1 and not is_worker()
    assert rendezvous({})[0] == "127.0.0.1:0"


def test_nodes_of_a_job_meet_where_slurm_says():
    assert node_count(SLURM) == 2
    # Every node comes to the same place; another job on these nodes to another one.
    assert rendezvous(SLURM) == rendezvous(dict(SLURM)) == ("10.1.2.3:13456", "tfbind-123456.0")
    assert rendezvous({**SLURM, "SLURM_JOB_ID": "123457"})[0] == "10.1.2.3:13457"


@pytest.mark.parametrize(("total", "parts"), [(7, 3), (2, 5), (0, 2), (12, 4)])
def test_parts_lose_nothing_and_repeat_nothing(total, parts):
    found = [part(total, index, parts) for index in range(parts)]
    assert [number for each in found for number in each] == list(range(total))
    sizes = {len(each) for each in found}
    assert max(sizes) - min(sizes) <= 1
