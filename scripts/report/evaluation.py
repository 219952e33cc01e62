"""The pages of an evaluation: scores beside baselines; and what was held out, training and calibration."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.report.figures import plot_baselines, plot_fdr, plot_reliability
from scripts.report.html import (
    Column,
    NumberedRow,
    Place,
    digits,
    escape,
    listed,
    percent,
    picture,
    significant,
    table,
    whole,
    write_page,
)
from scripts.report.pages import EVALUATION, SPLIT, Pages
from scripts.results.copies import (
    EXPERIMENT_COLUMNS,
    POOLED_FDR_COLUMNS,
    RELIABILITY_COLUMNS,
    experiments_of,
    named_predictors,
    pooled_fdr,
    pooled_reliability,
)
from scripts.results.protocols import PEEKS
from tfbind.config import Config
from tfbind.core.files import atomic_dir
from tfbind.evaluation.fdr import COLUMNS as FDR_COLUMNS
from tfbind.evaluation.loci import DREAM_BINS
from tfbind.evaluation.tables import KINDS, MODEL, read_metrics, write_table
from tfbind.evaluation.tsv import read_rows
from tfbind.training.splits import Split

SPLIT_COLUMNS = ("part", "regions", "megabases", "experiments")
# An SVG of more bytes is shown as its PNG, so that the page stays small.
LARGEST_SVG = 250_000
_MEND = "run the workflow again; `tfbind evaluate` writes this table"

Row = Mapping[str, Any]


def write_evaluation_pages(config: Config) -> None:
    """Write tables, figures and pages of a run's evaluation."""
    pages = Pages(config)
    evaluation, tables, figures = (
        pages.root / "evaluation",
        pages.tables / "evaluation",
        pages.root / "report/figures",
    )
    rows = read_metrics(evaluation / "metrics.tsv")
    split = Split.read(pages.root / "split.json")
    with atomic_dir(tables) as folder:
        write_pooled(folder, evaluation, rows)
        write_table(folder / "split.tsv", SPLIT_COLUMNS, parts_of(split))
    with atomic_dir(figures) as folder:
        draw(folder, rows, [evaluation], tables)
    shown = [picture_of(evaluation / "evaluation", _SHOWN["evaluation"])]
    write_page(
        Place(pages.root, EVALUATION),
        "How good it is: scores beside baselines",
        scores_body(
            Place(pages.root, EVALUATION),
            rows,
            evaluation / "summary.tsv",
            tables / "experiments.tsv",
            shown,
            figures,
        ),
        pages=pages.names,
    )
    write_page(
        Place(pages.root, SPLIT),
        "Why to believe it: split, training and calibration",
        _calibration_body(pages, tables, figures, split),
        pages=pages.names,
    )


def write_pooled(folder: Path, evaluation: Path, rows: Sequence[Row]) -> None:
    """Write what is aggregated for pages and figures: AUPRC by predictor, reliability and calls, pooled."""
    dream = [row for row in rows if row["bins"] == DREAM_BINS]
    kinds = {(row["experiment"], row["fold"]): row["kind"] for row in dream}
    columns = (*EXPERIMENT_COLUMNS, *named_predictors(dream))
    write_table(folder / "experiments.tsv", columns, experiments_of(dream))
    write_table(folder / "reliability.tsv", RELIABILITY_COLUMNS, pooled_reliability([evaluation], kinds))
    write_table(folder / "fdr.tsv", POOLED_FDR_COLUMNS, pooled_fdr([evaluation]))


def draw(folder: Path, rows: Sequence[Row], evaluations: Iterable[Path], tables: Path) -> None:
    """Draw the figures of an evaluation, from its tables."""
    plot_baselines(numbers(tables / "experiments.tsv"), others_of(rows), peeking(rows), folder / "baselines")
    plot_reliability(numbers(tables / "reliability.tsv"), folder / "reliability")
    calls = [row for evaluation in evaluations for row in numbers(evaluation / "fdr.tsv")]
    plot_fdr(calls, numbers(tables / "fdr.tsv"), folder / "fdr")


def others_of(rows: Sequence[Row]) -> list[str]:
    """Predictors other than the model, best first."""
    scores: dict[str, list[float]] = {}
    for row in rows:
        if row["bins"] == DREAM_BINS and not row["predictor"].startswith(MODEL) and not math.isnan(row["auprc"]):
            scores.setdefault(row["predictor"], []).append(row["auprc"])
    return sorted(scores, key=lambda name: (-math.fsum(scores[name]) / len(scores[name]), name))


def peeking(rows: Iterable[Row]) -> set[str]:
    """Predictors that look at measurements of the tested bins."""
    return {row["predictor"] for row in rows if PEEKS in row["sees"]}


def parts_of(split: Split) -> list[dict[str, Any]]:
    """What each part of a split holds."""

    def part(name: str, experiments: Sequence[str] | None) -> dict[str, Any]:
        regions = getattr(split, name)
        return {
            **{"part": name, "regions": len(regions)},
            "megabases": sum(region.end - region.start for region in regions) / 1e6,
            "experiments": None if experiments is None else len(experiments),
        }

    rows = [part("train", split.experiments), part("validation", split.experiments), part("test", split.tested)]
    for kind in KINDS:
        tested = [name for name in split.tested if split.kinds[name] == kind]
        if tested:
            rows.append({"part": f"test: {kind}", "experiments": len(tested)})
    return rows


def numbers(path: Path) -> list[dict[str, Any]]:
    """Rows of a table, with what reads as a number as such, and empty cells as nan."""
    return [
        {column: _number(text) for column, text in cells.items()} for _, cells in read_rows(path, (), mend=_MEND)
    ]


def _number(text: str) -> Any:
    try:
        return float(text or "nan")
    except ValueError:
        return text


def picture_of(stem: Path, caption: str) -> str:
    """A figure of a page: the SVG, or the PNG where that is large."""
    svg = stem.with_suffix(".svg")
    return picture(svg if svg.stat().st_size <= LARGEST_SVG else stem.with_suffix(".png"), caption)


_SHOWN = {
    "evaluation": "Left, AUPRC of every predictor: a point is an experiment, a bar the mean. Right, "
    "tfbind against the "
    "best of the others on each experiment, whichever that is. Dotted: the mean prevalence, which is "
    "what chance gives.",
    "baselines": "tfbind against each other predictor, a point an experiment; above the line tfbind is better.",
    "reliability": "Where a probability is predicted, which share of bins is bound? On the line, "
    "probabilities are "
    "frequencies.",
    "fdr": "Calls of tracks are made at a threshold that was found in the validation regions. Here is "
    "what became of the "
    "stated rate in the test regions, of bins and of called peaks; with an experiment's own threshold, "
    "and with that of "
    "all experiments, which tracks of unseen factors and cell types are called by.",
}


def summary_columns(columns: Iterable[str]) -> list[Column]:
    """Columns of a table of means, as far as the file has them."""
    known = [
        Column("predictor", "predictor"),
        whole("n_experiments", "n"),
        digits("mean_auprc", "AUPRC, mean"),
        digits("auprc_low", "95 %, from"),
        digits("auprc_high", "to"),
        digits("sd_over_seeds", "SD over seeds"),
        digits("median_auprc", "AUPRC, median"),
        digits("mean_auroc", "AUROC"),
        digits("mean_recall_at_10_fdr", "recall at 10\N{NO-BREAK SPACE}% FDR"),
        digits("mean_recall_at_50_fdr", "recall at 50\N{NO-BREAK SPACE}% FDR"),
        digits("mean_ece", "calibration error", 4),
        digits("ratio", "ratio, tfbind over it", 2),
        percent("mean_prevalence", "prevalence"),
    ]
    there = set(columns)
    return [column for column in known if column.name in there]


def of_model(cells: Mapping[str, str]) -> bool:
    """Whether a row is the model's own."""
    return cells["predictor"].startswith(MODEL)


def scores_body(
    place: Place, rows: Sequence[Row], summary: Path, experiments: Path, shown: Sequence[str], figures: Path
) -> str:
    """The page of scores: means, figures, and each experiment.

    Parameters
    ----------
    rows
        Of metrics.
    summary, experiments
        Tables.
    shown
        Figures that stand above those of the folder `figures`.
    """
    parts = [
        "<p>Each score is taken in regions of the genome that no training saw, on 200-bp bins every 50 "
        "bp at the true "
        "prevalence of binding, and beside simpler predictions on the same bins. AUPRC is average "
        "precision; chance "
        "gives the prevalence. Recall at 10 % FDR is the share of bound bins that are found while at "
        "most every tenth "
        "call is wrong.</p>"
    ]
    parts += [*means(place, summary), "<h2>Against every baseline</h2>", *shown]
    parts.append(picture_of(figures / "baselines", _SHOWN["baselines"]))
    parts.append("<h3>What each predictor looks at</h3>")
    sees = {row["predictor"]: row["sees"] for row in rows}
    parts.append(
        listed(f"<b>{escape(name)}</b>: {escape(sees[name])}" for name in sees if not name.startswith(MODEL))
    )
    parts.append(
        "<h2>Each experiment</h2><p>AUPRC of each predictor; empty where an experiment has no bound bin in the "
        "test regions, or a predictor has nothing to go by.</p>"
    )
    numbered = read_rows(experiments, (), mend=_MEND)
    parts.append(table(place, experiments, numbered, experiment_columns(numbered), identifier="experiments"))
    return "\n".join(parts)


def means(place: Place, summary: Path) -> list[str]:
    """A table of means for each kind of experiments, over all folds where there are several."""
    numbered = [
        (line, cells)
        for line, cells in read_rows(summary, (), mend=_MEND)
        if cells["bins"] == DREAM_BINS and cells.get("fold", "together") == "together"
    ]
    parts = []
    for index, kind in enumerate(kind for kind in KINDS if any(cells["kind"] == kind for _, cells in numbered)):
        own = [(line, cells) for line, cells in numbered if cells["kind"] == kind]
        parts.append(f"<h2>{_TITLES[kind]}</h2>")
        columns = summary_columns(own[0][1])
        parts.append(
            table(place, summary, own, columns, identifier=f"means{index}", own=of_model, filtered=False)
        )
    if not parts:
        parts.append(
            '<p class="warning">No experiment has bound bins in the test regions: nothing can be scored.</p>'
        )
    return parts


_TITLES = {
    "seen": "Factors and cell types that were trained on, in other regions",
    "unseen cell type": "Cell types that were never trained on",
    "unseen factor": "Factors that were never trained on, nor any relative",
    "unseen factor and cell type": "Neither factor nor cell type was trained on",
}


def experiment_columns(rows: Sequence[NumberedRow]) -> list[Column]:
    """Columns of the table of experiments: what each is, and a column a predictor."""
    columns = [
        Column("experiment", "experiment"),
        Column("kind", "kind"),
        whole("n_train_peaks", "peaks in training"),
        digits("identity", "identity to nearest", 2),
        whole("n_bound", "bound bins"),
        percent("prevalence", "prevalence"),
    ]
    predictors = [name for name in (rows[0][1] if rows else {}) if name not in EXPERIMENT_COLUMNS]
    return columns + [digits(name, name) for name in predictors]


def _calibration_body(pages: Pages, tables: Path, figures: Path, split: Split) -> str:
    place = Place(pages.root, SPLIT)
    return "\n".join(
        [
            _split_part(place, pages, tables, split),
            "<h2>Training</h2><p>Loss on the training regions, and AUPRC in the validation regions, by which the "
            "weights were chosen. The test had no part in it.</p>",
            *(
                picture_of(
                    path.with_suffix(""),
                    f"Training{_of_member(path)}: above, the loss by step; below, validation AUPRC.",
                )
                for path in pages.histories
            ),
            "<h2>Calibration</h2>",
            picture_of(figures / "reliability", _SHOWN["reliability"]),
            _reliability_part(place, tables),
            "<h2>Calls at the stated false discovery rate</h2>",
            picture_of(figures / "fdr", _SHOWN["fdr"]),
            _fdr_part(place, pages, tables),
        ]
    )


def _of_member(path: Path) -> str:
    member = path.parent.parent
    return f" of member {member.name}" if member.parent.name == "members" else ""


def _split_part(place: Place, pages: Pages, tables: Path, split: Split) -> str:
    held_out = [
        f"{what}: {escape(', '.join(names)) or 'none'}"
        for what, names in (
            ("Factors never trained on, with all their relatives", split.held_out_factors),
            ("Cell types never trained on, under any name", split.held_out_cell_types),
        )
    ]
    homology = pages.root / "homology.tsv"
    columns = [
        Column("of", "of"),
        whole("bp", "tested, bp"),
        percent("kmers_in_train", "words of DNA also in training"),
        percent("homologous_bp", "homologous to training, of bp"),
        whole("bound_bins", "bound bins"),
        percent("homologous_bound_bins", "of these homologous"),
    ]
    parts = [
        Column("part", "part of the genome, and kinds of tested experiments"),
        whole("regions", "regions"),
        digits("megabases", "Mb", 2),
        whole("experiments", "experiments"),
    ]
    return (
        "<h2>What was held out</h2><p>Parts of the genome do not overlap. The split is one file, "
        f"{place.link('split.json', 'split.json')}, whose checksum the model carries in its training "
        "manifest; evaluation "
        "refuses a test that overlaps with what the manifest says was trained on.</p>"
        + listed(held_out)
        + table(
            place,
            tables / "split.tsv",
            read_rows(tables / "split.tsv", (), mend=_MEND),
            parts,
            identifier="split",
            filtered=False,
        )
        + "<h3>Sequence of the test that stands in training, too</h3><p>What is repeated there could be "
        "remembered rather than predicted.</p>"
        + table(
            place, homology, read_rows(homology, (), mend=_MEND), columns, identifier="homology", filtered=False
        )
    )


def _reliability_part(place: Place, tables: Path) -> str:
    columns = [
        Column("kind", "kind"),
        Column("bins", "bins"),
        whole("n_experiments", "experiments"),
        significant("predicted", "predicted, mean"),
        significant("observed", "observed"),
        whole("count", "bins pooled"),
    ]
    path = tables / "reliability.tsv"
    return table(place, path, read_rows(path, RELIABILITY_COLUMNS, mend=_MEND), columns, identifier="reliability")


def _fdr_part(place: Place, pages: Pages, tables: Path) -> str:
    shared = [Column("kind", "kind"), Column("threshold_from", "threshold"), Column("of", "of")]
    counts = [
        percent("fdr", "stated FDR"),
        percent("achieved_fdr", "achieved FDR"),
        whole("calls", "calls"),
        whole("right", "right"),
        whole("measured", "measured"),
        percent("recall", "recall"),
    ]
    pooled, each = tables / "fdr.tsv", pages.root / "evaluation/fdr.tsv"
    return (
        table(
            place,
            pooled,
            read_rows(pooled, POOLED_FDR_COLUMNS, mend=_MEND),
            [*shared, whole("n_experiments", "experiments"), *counts],
            identifier="fdr",
            filtered=False,
        )
        + "<h3>Each experiment</h3>"
        + table(
            place,
            each,
            read_rows(each, FDR_COLUMNS, mend=_MEND),
            [Column("experiment", "experiment"), *shared, digits("threshold", "threshold", 3), *counts],
            identifier="calls",
        )
    )
