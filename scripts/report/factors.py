"""The page of all factors, and a page of each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.report.drawing import logo, profile
from scripts.report.evaluation import of_model
from scripts.report.html import (
    Column,
    NumberedRow,
    Place,
    digits,
    escape,
    figure,
    listed,
    locus_link,
    percent,
    table,
    whole,
    write_page,
)
from scripts.report.pages import FACTORS, Pages, page_of
from tfbind.config import Config
from tfbind.core.files import atomic_dir
from tfbind.evaluation.loci import DREAM_BINS
from tfbind.evaluation.profiles import COLUMNS as PROFILE_COLUMNS
from tfbind.evaluation.sites import SITE_COLUMNS, TRACK_COLUMNS
from tfbind.evaluation.tables import COLUMNS as METRIC_COLUMNS
from tfbind.evaluation.tables import MODEL, write_table
from tfbind.evaluation.tsv import read_rows
from tfbind.factors.factorset import FactorSet
from tfbind.training.splits import Split

TABLE_COLUMNS = (
    *("factor", "uniprot", "residues", "motif", "trained_on", "nearest", "identity", "tracks", "peaks"),
    *("n_tested", "prevalence", "auprc", "best_other", "best_other_auprc"),
)
# What a page shows of the tracks of a factor: it stays small, however many cell types there are.
MOST_CELL_TYPES = 40
MOST_CURVES = 7
# bp to either side of a site that the genome browser shows.
AROUND = 1000
_MEND = "run the workflow again: `tfbind sites`, `tfbind profiles` and `tfbind evaluate` write these tables"


@dataclass
class Known:
    """Rows of tables that are of one factor, with their lines: by file."""

    tracks: dict[Path, list[NumberedRow]] = field(default_factory=dict)
    sites: dict[Path, list[NumberedRow]] = field(default_factory=dict)
    scores: list[NumberedRow] = field(default_factory=list)
    profiles: list[NumberedRow] = field(default_factory=list)


def write_factor_pages(config: Config) -> None:
    """Write the table and the page of all factors, and a page of each."""
    pages = Pages(config)
    factor_set, split = FactorSet.open(pages.root / "factors"), Split.read(pages.root / "split.json")
    known = _known(pages)
    path = pages.tables / "factors.tsv"
    write_table(path, TABLE_COLUMNS, (_row(name, factor_set, split, known[name]) for name in pages.factors))
    with atomic_dir(pages.root / "report/factors") as folder:
        for name in pages.factors:
            place = Place(pages.root, page_of(name))
            body = _body(place, pages, factor_set, split, name, known[name])
            write_page(place, name, body, pages=pages.names, output=folder / f"{name}.html")
    write_page(Place(pages.root, FACTORS), "Factor by factor", _index(pages, path), pages=pages.names)


def _known(pages: Pages) -> dict[str, Known]:
    known = {name: Known() for name in pages.factors}

    def deal(path: Path, columns: Sequence[str]) -> Iterable[tuple[Known, NumberedRow]]:
        for line, cells in read_rows(path, columns, mend=_MEND):
            if cells["factor"] in known:
                yield known[cells["factor"]], (line, cells)

    for cell_type in pages.cell_types:
        folder = pages.tables / "sites" / cell_type
        for of_factor, row in deal(folder / "tracks.tsv", TRACK_COLUMNS):
            of_factor.tracks.setdefault(folder / "tracks.tsv", []).append(row)
        for of_factor, row in deal(folder / "sites.tsv", SITE_COLUMNS):
            of_factor.sites.setdefault(folder / "sites.tsv", []).append(row)
    if pages.is_tested:
        for of_factor, row in deal(pages.root / "evaluation/metrics.tsv", METRIC_COLUMNS):
            if row[1]["bins"] == DREAM_BINS:
                of_factor.scores.append(row)
        for of_factor, row in deal(pages.tables / "profiles.tsv", PROFILE_COLUMNS):
            of_factor.profiles.append(row)
    return known


def _row(name: str, factor_set: FactorSet, split: Split, known: Known) -> dict[str, Any]:
    """A factor's row of the table: what is known of it, and means over its tested experiments with bound bins."""
    entry, identity = factor_set.entries[factor_set.index(name)], split.identity.get(name, {})
    scores: dict[str, list[float]] = {}
    prevalence: dict[str, float] = {}
    for _, cells in known.scores:
        if cells["auprc"]:
            scores.setdefault(cells["predictor"], []).append(float(cells["auprc"]))
            prevalence[cells["experiment"]] = float(cells["prevalence"])
    means = {predictor: _mean(values) for predictor, values in scores.items()}
    best = max((name for name in means if not name.startswith(MODEL)), key=lambda each: means[each], default=None)
    tracks = [cells for rows in known.tracks.values() for _, cells in rows]
    return {
        **{"factor": name, "uniprot": entry["uniprot"], "residues": entry["length"], "motif": entry["motif"]},
        **{"trained_on": tracks[0]["seen_factor"], "nearest": identity.get("nearest")},
        **{"identity": identity.get("identity"), "tracks": len(tracks)},
        **{"peaks": sum(int(cells["peaks"]) for cells in tracks), "n_tested": len(prevalence)},
        **{"prevalence": _mean(list(prevalence.values())), "auprc": means.get(MODEL, math.nan)},
        **{"best_other": best, "best_other_auprc": math.nan if best is None else means[best]},
    }


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _index(pages: Pages, path: Path) -> str:
    columns = [
        Column("factor", "factor", link=lambda cells: page_of(cells["factor"])),
        Column("trained_on", "trained on"),
        Column("nearest", "nearest training factor"),
        digits("identity", "identity", 2),
        Column("motif", "motif"),
        whole("tracks", "tracks"),
        whole("peaks", "called peaks"),
    ]
    if pages.is_tested:
        columns += [
            whole("n_tested", "experiments tested"),
            percent("prevalence", "prevalence"),
            digits("auprc", f"AUPRC, {MODEL}"),
            digits("best_other_auprc", "AUPRC, best other"),
            Column("best_other", "which is"),
        ]
    place = Place(pages.root, FACTORS)
    rows = read_rows(path, TABLE_COLUMNS, mend=_MEND)
    return (
        "<p>A click on a factor opens its page: its motif, its most probable sites, and what is "
        "predicted around calls "
        "that were measured. AUPRC is the mean over a factor's tested experiments with bound bins, on held-out "
        "regions; identity is that of the protein, or of its DNA-binding domain where it is given, to the "
        "nearest training factor.</p>" + table(place, path, rows, columns, identifier="factors")
    )


def _body(place: Place, pages: Pages, factor_set: FactorSet, split: Split, name: str, known: Known) -> str:
    parts = [_about(factor_set, split, name, known)]
    if known.scores:
        parts.append(_scores(place, pages, known))
    if known.profiles:
        parts.append(_profile(place, pages, known))
    parts += [_sites(place, name, known), _tracks(place, name, known)]
    return "\n".join(parts)


def _about(factor_set: FactorSet, split: Split, name: str, known: Known) -> str:
    entry, motif = factor_set.entries[factor_set.index(name)], factor_set.motif(name)
    cells = next(cells for rows in known.tracks.values() for _, cells in rows)
    identity = split.identity.get(name, {})
    if cells["seen_factor"] == "yes":
        trained = "Trained on, in other regions of the genome."
    elif identity.get("nearest"):
        share = 100 * identity["identity"]
        nearest = f"The nearest training factor is {escape(identity['nearest'])}, {share:.0f} % identical."
        trained = f"<b>Never trained on.</b> {nearest}"
    else:
        trained = "<b>Never trained on</b>, nor anything like it."
    facts = [trained]
    if entry["proteins"]:
        accessions = ", ".join(each["accession"] for each in entry["proteins"])
        facts.append(f"Protein {escape(accessions)}: {entry['length']:,} residues.")
    else:
        facts.append("No protein is given: predicted from the motif alone.")
    if motif is None:
        return listed([*facts, "No motif is given: predicted from the protein alone."])
    caption = f"Motif {escape(motif.identifier)}, as the model is given it."
    return listed(facts) + figure(logo(motif), caption)


def _scores(place: Place, pages: Pages, known: Known) -> str:
    columns = [
        Column("cell_type", "cell type"),
        Column("kind", "kind"),
        Column("predictor", "predictor"),
        digits("auprc", "AUPRC"),
        digits("auroc", "AUROC"),
        digits("recall_at_10_fdr", "recall at 10 % FDR"),
        digits("recall_at_50_fdr", "recall at 50 % FDR"),
        digits("ece", "calibration error", 4),
        whole("n_bound", "bound bins"),
        percent("prevalence", "prevalence"),
    ]
    scored = known.scores
    cell_types = list(dict.fromkeys(cells["cell_type"] for _, cells in scored))
    note = ""
    if len(cell_types) > MOST_CELL_TYPES:
        scored = [row for row in scored if row[1]["cell_type"] in cell_types[:MOST_CELL_TYPES]]
        note = f'<p class="note">The first {MOST_CELL_TYPES} of {len(cell_types)} cell types.</p>'
    ordered = sorted(scored, key=lambda row: (row[1]["cell_type"], -float(row[1]["auprc"] or 0)))
    source = pages.root / "evaluation/metrics.tsv"
    return (
        "<h2>How well it is predicted in held-out regions</h2>"
        + table(place, source, ordered, columns, identifier="scores", own=of_model, filtered=len(ordered) > 12)
        + note
    )


def _profile(place: Place, pages: Pages, known: Known) -> str:
    curves: dict[str, list[tuple[int, float]]] = {}
    backgrounds: dict[str, float] = {}
    seen: dict[str, int] = {}
    for _, cells in known.profiles:
        seen[cells["experiment"]] = int(cells["n_calls"])
    # Those of most calls say most.
    chosen = sorted(seen, key=lambda name: (-seen[name], name))[:MOST_CURVES]
    for _, cells in known.profiles:
        if cells["experiment"] in chosen:
            label = f"{cells['experiment']} (n = {seen[cells['experiment']]} calls)"
            curves.setdefault(label, []).append((int(cells["offset"]), float(cells["mean_probability"])))
            backgrounds[label] = float(cells["background"])
    source = (pages.tables / "profiles.tsv").relative_to(pages.root).as_posix()
    few = f" The {MOST_CURVES} with most calls, of {len(seen)}." if len(seen) > MOST_CURVES else ""
    caption = (
        "Mean predicted probability around the middles of measured calls, in regions that were not "
        "trained on. Dotted: "
        f"the mean over all bins of those regions.{few} From {place.link(source, source)}."
    )
    return "<h2>Around measured calls</h2>" + figure(profile(curves, backgrounds), caption)


def _sites(place: Place, name: str, known: Known) -> str:
    def at_locus(cells: Mapping[str, str]) -> str:
        start, end = int(cells["start"]) - AROUND, int(cells["end"]) + AROUND
        return locus_link(cells["chrom"], start, end, [(name, cells["cell_type"])])

    columns = [
        whole("rank", "rank"),
        Column("chrom", "in the browser", link=at_locus),
        whole("start", "start"),
        whole("end", "end"),
        digits("probability", "probability"),
        Column("part", "part of the split"),
        Column("measured", "measured call there"),
    ]
    parts = ["<h2>Most probable sites</h2>"]
    if not known.sites:
        parts.append("<p>No site is above the threshold, at the stated false discovery rate.</p>")
    else:
        parts.append(
            "<p>Called peaks by their probability. A click on a chromosome's name shows the site in the "
            "genome browser. "
            "Start and end are 0-based, half-open; <i>measured call there</i> is empty where the factor "
            "was not measured in "
            "the cell type. Sites in training regions were seen with their labels.</p>"
        )
    for index, (path, rows) in enumerate(list(known.sites.items())[:MOST_CELL_TYPES]):
        parts.append(f"<h3>{escape(rows[0][1]['cell_type'])}</h3>")
        parts.append(table(place, path, rows, columns, identifier=f"sites{index}", filtered=False))
    if len(known.sites) > MOST_CELL_TYPES:
        parts.append(f'<p class="note">The first {MOST_CELL_TYPES} of {len(known.sites)} cell types.</p>')
    return "\n".join(parts)


def _tracks(place: Place, name: str, known: Known) -> str:
    parts = ["<h2>Tracks</h2>"]
    lines = []
    for rows in list(known.tracks.values())[:MOST_CELL_TYPES]:
        for _, cells in rows:
            stem = f"tracks/{cells['cell_type']}/{name}"
            peaks = f"{int(cells['peaks']):,} called peaks"
            if cells["threshold"]:
                peaks += f" at {float(cells['threshold']):.3f} or more"
            if cells["threshold_where_known"]:
                peaks += f" ({float(cells['threshold_where_known']):.3f} where binding is known)"
            unseen = "" if cells["seen_cell_type"] == "yes" else ", a cell type never trained on"
            lines.append(
                f"<b>{escape(cells['cell_type'])}</b>{unseen}: {peaks}; {place.link(f'{stem}.bw', 'bigWig')}, "
                f"{place.link(f'{stem}.narrowPeak', 'narrowPeak')}, {place.link(f'{stem}.json', 'what made it')}"
            )
    if len(known.tracks) > MOST_CELL_TYPES:
        lines.append(
            f"and {len(known.tracks) - MOST_CELL_TYPES} further cell types, in {place.link('tracks', 'tracks')}"
        )
    return "\n".join([*parts, listed(lines)])
