"""Run benchmarks by name: `python -m benchmarks [NAME ...]`; all without a name.

Each prints a table and, last, one line of JSON with its name, the ratio, the sizes and the device.
"""

from __future__ import annotations

import importlib
import json
import sys

# Name -> what it measures. The module of that name has `run() -> dict`, which prints the table.
BENCHMARKS = {
    "dag": "jobs, seconds and memory of a plan at the scale of hg38, beside yeast's",
    "trunk": "embedding a stretch by the fast trunk, beside enformer-pytorch, in single precision and in 16 bits",
    "step": "memory and time of a training step at the size of Enformer, stages run once and again; computed",
    "variants": "a training step, and a track, of each variant of config/ablation.yaml, beside the factored head",
}


def main(names: list[str]) -> None:
    """Run benchmarks, and print the JSON line of each."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        known = "\n".join(f"  {name:<10} {what}" for name, what in BENCHMARKS.items())
        sys.exit(f"no such benchmark: {', '.join(unknown)}; there are\n{known}")
    for name in names or BENCHMARKS:
        found = importlib.import_module(f"benchmarks.{name}").run()
        print(json.dumps({"name": name, **found}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
