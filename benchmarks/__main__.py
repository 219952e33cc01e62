"""Run benchmarks by name: `python -m benchmarks [NAME ...] [--full] [--results]`; all without a name.

Each prints a table and, last, one line of JSON with its name, the ratio, the sizes and the device.
"""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Sequence
from pathlib import Path

from tfbind.core.files import write_json

# Name -> what it measures. The module of that name has `run(full: bool = False) -> dict`, which prints the table.
BENCHMARKS = {
    "trunk": "the inference trunk beside enformer-pytorch's, in fp32 and bf16",
    "embed": "embedding a stretch of genome: the share of its time that is the trunk's own compute",
    "render": "tracks from a genome embedding, rendered together, beside tf-bind-transformer a pair",
    "on_demand": "a region of a track in a process that is there, beside `tfbind render` in one of its own",
    "bigwig": "writing a track of hg38: dense bigWig beside an entry a run, and what rounding costs evaluation",
    "windows": "reading windows of bases, beside pyfaidx and enformer-pytorch's FastaInterval",
    "frozen": "training on a frozen trunk from its embeddings kept on disk, beside running the trunk",
    "loader": "the share of a training step that waits for its data, read in the step and read ahead",
    "proteins": "ESM-2 batched by tokens, beside fair-esm's own loop",
    "growth": "time and memory as genome, windows, factors, cell types, experiments and rank grow",
    "cost": "what hg38 costs for so many factors and cell types; computed from the results of full runs",
    "dag": "jobs, seconds and memory of a plan at the scale of hg38, beside yeast's",
    "step": "memory and time of a training step at the size of Enformer, stages run once and again; computed",
    "variants": "a training step, and a track, of each variant of config/ablation.yaml, beside the factored head",
}
RESULTS = Path(__file__).with_name("results")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run benchmarks, and print the JSON line of each."""
    options = _parse(arguments)
    for name in options.names or BENCHMARKS:
        found = importlib.import_module(f"benchmarks.{name}").run(full=options.full)
        line = {"name": name, "full": options.full, **found}
        print(json.dumps(line), flush=True)
        if options.results:
            write_json(RESULTS / f"{name}.json", line)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    known = "\n".join(f"  {name:<10} {what}" for name, what in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure two things side by side, and print their ratio.",
        epilog=f"benchmarks:\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which to run; all by default")
    parser.add_argument("--full", action="store_true", help="real sizes, not those of a few minutes on 2 cores")
    parser.add_argument("--results", action="store_true", help="keep the line of JSON in benchmarks/results/")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in BENCHMARKS]:
        parser.exit(1, f"no such benchmark: {', '.join(unknown)}; there are\n{known}\n")
    if options.results and not options.full:
        parser.exit(1, "results that are kept are of real sizes: give --full, too\n")
    return options


if __name__ == "__main__":
    main()
