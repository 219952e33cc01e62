"""For test_whole_batch.py, by torchrun: normalise this process's share of a batch, and save what came of it."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist

from tfbind.model.whole_batch import WholeBatchNorm
from tfbind.training import processes


def main(folder: Path) -> None:
    """Read `in.pt`, write `<rank>.pt`."""
    dist.init_process_group("gloo")
    given = torch.load(folder / "in.pt", weights_only=True)
    own = processes.share(len(given["x"]))
    x = given["x"][own.start : own.stop].requires_grad_()
    norm = WholeBatchNorm(x.shape[1])
    norm.load_state_dict(given["norm"])
    (norm(x) * given["weight"][own.start : own.stop]).sum().backward()
    found = {"x": x.detach(), "gradient": x.grad, "of_weight": norm.weight.grad, "norm": norm.state_dict()}
    torch.save(found, folder / f"{dist.get_rank()}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
