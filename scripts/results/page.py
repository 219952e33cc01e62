"""The blocks of docs/results.md: every number on the page that is measured here stands in one of them.

A block stands between `<!-- results: NAME -->` and `<!-- end -->`; what is between is written by `filled`,
from the copies in docs/results alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.results.copies import ENSEMBLE, predictors_of, read_copy
from scripts.results.extra import read_learning, read_steps
from scripts.results.figures import grouped
from scripts.results.protocols import BY_NAME, EVERY, IN_VITRO, PEEKS, PROTOCOLS, TRAININGS, Protocol
from tfbind.core.errors import InputError
from tfbind.evaluation.loci import DREAM_BINS, MODEL_BINS
from tfbind.evaluation.tables import KINDS, KNOWN, MODEL

BLOCK = re.compile(r"(<!-- results: (?P<name>[^\n]+?) -->\n)(?P<body>.*?)(<!-- end -->)", re.DOTALL)
NOT_RUN = "*not run*\n"
_OF_ALL_SEEDS = re.compile(rf"{MODEL}, \d+ seeds as one")
# What looks at measurements at the tested bins, and at nothing else.
_KNOW = ("factor mean", "other factors")
_PARTS = ("cell-type-specific", "shared", "promoter", "distal", "CpG-rich", "CpG-poor")

Row = Mapping[str, Any]


def filled(text: str, folder: Path) -> str:
    """A page with all blocks written anew.

    Raises
    ------
    InputError
        A block has no known name.
    """
    known = blocks(folder)

    def written(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in known:
            raise InputError(
                f"there is no block '{name}'", file="docs/results.md", mend=f"one of {', '.join(known)}"
            )
        return f"{found[1]}\n{known[name]()}\n{found[4]}"

    return BLOCK.sub(written, text)


def blocks(folder: Path) -> dict[str, Callable[[], str]]:
    """What can stand in a block: its name, and how its text is made."""
    found: dict[str, Callable[[], str]] = {
        "protocols": lambda: _protocols(folder),
        "overview": lambda: _overview(folder),
        "trainings": lambda: _beside(folder, TRAININGS),
        "in-vitro": lambda: _beside(folder, IN_VITRO),
        "known": lambda: _known(folder),
        "parts": lambda: _parts(folder),
        "fdr": lambda: _fdr(folder),
        "learning": lambda: _learning(folder),
        "steps": lambda: _steps(folder),
    }
    for protocol in PROTOCOLS:
        found[protocol.name] = lambda protocol=protocol: _protocol(protocol, folder)
    for name, alt, breakdown in (
        ("reliability", "Predicted against observed frequencies", None),
        ("identity", "AUPRC by identity to the nearest training factor", "identity"),
        ("training_peaks", "AUPRC by number of training peaks", "training peaks"),
    ):
        found[name] = lambda name=name, alt=alt, breakdown=breakdown: _figure(folder, name, alt, breakdown)
    return found


def _protocols(folder: Path) -> str:
    head = ["", "held out", "folds", "seeds", "experiments", "factors", "trained on, Mb", "tested on, Mb"]
    lines = []
    for protocol in EVERY:
        folds = read_copy(folder, protocol.name, "folds")
        own = [row for row in _summary(folder, protocol) if row["predictor"] == MODEL]
        if not folds or not own:
            lines.append([protocol.label, protocol.held_out, "not run", *[""] * 7])
            continue
        for row in own:
            lines.append(
                [
                    protocol.label,
                    protocol.held_out,
                    str(len(folds)),
                    str(row["n_seeds"]),
                    f"{row['n_experiments']}{'' if len(own) == 1 else ', ' + row['kind']}",
                    str(row["n_factors"]),
                    _range([each["train_mb"] for each in folds], 1),
                    _range([each["test_mb"] for each in folds], 1),
                    _percent(row["mean_prevalence"]),
                    _minutes(_mean_known([each["train_seconds"] for each in folds])),
                ]
            )
    return _table([*head, "bound bins", "training takes"], lines)


def _overview(folder: Path) -> str:
    return _overview_of(folder, PROTOCOLS)


def _beside(folder: Path, others: Sequence[Protocol]) -> str:
    """Each below the protocol that it differs from, by the label before the last comma."""
    known = {protocol.label: protocol for protocol in EVERY}
    pairs = (each for protocol in others for each in (known[protocol.label.rpartition(",")[0]], protocol))
    # Once where several differ from it.
    return _overview_of(folder, list(dict.fromkeys(pairs)))


def _overview_of(folder: Path, protocols: Sequence[Protocol]) -> str:
    """A line a protocol and kind of experiments: the model, its ensemble, the best that does not peek."""
    lines = []
    for protocol in protocols:
        summary = _summary(folder, protocol)
        own = [row for row in summary if row["predictor"] == MODEL]
        if not own:
            lines.append([protocol.label, "", "", "not run", *[""] * 6])
        for row in own:
            group = [each for each in summary if each["kind"] == row["kind"]]
            rivals = [each for each in group if not _is_models(each["predictor"]) and PEEKS not in each["sees"]]
            best = max(rivals, key=lambda each: each["mean_auprc"], default=None)
            as_one = next((each for each in group if _OF_ALL_SEEDS.fullmatch(each["predictor"])), None)
            lines.append(
                [
                    protocol.label,
                    row["kind"],
                    str(row["n_experiments"]),
                    f"**{_number(row['mean_auprc'])}** ± {_number(row['sd_over_seeds'])}",
                    _interval(row, "auprc"),
                    _number(row["median_auprc"]),
                    "" if as_one is None else _number(as_one["mean_auprc"]),
                    "" if as_one is None else _number(as_one["median_auprc"]),
                    "" if best is None else f"{_number(best['mean_auprc'])} ({best['predictor']})",
                    "" if best is None else _times(best["ratio"]),
                ]
            )
    head = ["", "experiments", "n", "mean AUPRC, ± sd of seeds", "95 %", "median", "seeds as one", "its median"]
    return _table([*head, "best baseline", "tfbind is better by"], lines)


def _protocol(protocol: Protocol, folder: Path) -> str:
    """All predictors, on bins of both sizes; and how the model does experiment by experiment."""
    summary = _summary(folder, protocol)
    if not summary:
        return NOT_RUN
    of_model_bins = {
        (row["kind"], row["predictor"]): row
        for row in read_copy(folder, protocol.name, "summary")
        if row["bins"] == MODEL_BINS
    }
    head = ["predictor", "n", "mean AUPRC", "sd of seeds", "95 %", "median", "sd of factors", "AUROC"]
    head += ["recall, 10 % FDR", "50 % FDR", "ECE", "tfbind is better by", "95 %", "model's bins: AUPRC", "ECE"]
    texts = []
    for kind in KINDS:
        rows = [row for row in summary if row["kind"] == kind]
        if not rows:
            continue
        lines = []
        for row in rows:
            other = of_model_bins.get((kind, row["predictor"]), {})
            is_own = _is_models(row["predictor"]) and "shuffled" not in row["predictor"]
            mark = " †" if PEEKS in row["sees"] else ""
            lines.append(
                [
                    (f"**{row['predictor']}**" if is_own else row["predictor"]) + mark,
                    str(row["n_experiments"]),
                    _number(row["mean_auprc"]),
                    _number(row["sd_over_seeds"]) if row["sd_over_seeds"] > 0 else "",
                    _interval(row, "auprc"),
                    *(_number(row[column]) for column in ("median_auprc", "sd_over_factors", "mean_auroc")),
                    *(_number(row[f"mean_recall_at_{each}_fdr"]) for each in (10, 50)),
                    _small(row["mean_ece"]),
                    "" if row["predictor"] == MODEL else _times(row["ratio"]),
                    "" if row["predictor"] == MODEL else _interval(row, "ratio", 2),
                    _number(other.get("mean_auprc", math.nan)),
                    _small(other.get("mean_ece", math.nan)),
                ]
            )
        first = next(row for row in rows if row["predictor"] == MODEL)
        about = (
            f"{kind.capitalize()}, {first['n_experiments']} experiments of {first['n_factors']} factors, "
            f"{first['n_seeds']} seed{'s' * (first['n_seeds'] != 1)}, {_percent(first['mean_prevalence'])} of "
            "200-bp bins bound:"
        )
        texts.append(f"{about}\n\n{_table(head, lines)}")
    rows = read_copy(folder, protocol.name, "experiments")
    bound = [row for row in rows if not math.isnan(row[MODEL])]
    others = [name for name in predictors_of(rows) if not name.startswith(MODEL)]
    alt = f"AUPRC of tfbind against {len(others)} others, {len(bound)} experiments of {protocol.label}"
    return "\n".join([*texts, _image(f"{protocol.name}.factors", alt)])


def _known(folder: Path) -> str:
    """What known binding is worth, where there is any; beside it, those that know nothing else."""
    lines = []
    for protocol in PROTOCOLS:
        summary = _summary(folder, protocol)
        for row in summary:
            if row["predictor"] != KNOWN:
                continue
            of_kind = {each["predictor"]: each for each in summary if each["kind"] == row["kind"]}
            others = (_number(of_kind[name]["mean_auprc"]) if name in of_kind else "" for name in _KNOW)
            lines.append(
                [
                    *(protocol.label, row["kind"], str(row["n_experiments"])),
                    f"{_number(row['mean_auprc'])} ± {_number(row['sd_over_seeds'])}",
                    _number(row["ratio"] * row["mean_auprc"]),
                    _times(1 / row["ratio"]),
                    *others,
                ]
            )
    if not lines:
        return NOT_RUN
    head = ["", "experiments", "n", f"{KNOWN} †, ± sd of seeds", f"{MODEL} on the same", "better by"]
    return _table([*head, *(f"{name} †" for name in _KNOW)], lines)


def _parts(folder: Path) -> str:
    shown = (MODEL, "factor mean", "motif x accessibility", "accessibility")
    lines = []
    for protocol in PROTOCOLS:
        rows = [row for row in read_copy(folder, protocol.name, "groups") if row["part"] in _PARTS]
        for kind in KINDS:
            for part in _PARTS:
                own = {row["predictor"]: row for row in rows if (row["kind"], row["part"]) == (kind, part)}
                if MODEL in own:
                    first = own[MODEL]
                    scores = [_number(own[name]["mean_auprc"]) if name in own else "" for name in shown]
                    lines.append(
                        [
                            *(protocol.label, kind, part, str(first["n_experiments"])),
                            *(_percent(first["mean_prevalence"]), *scores),
                        ]
                    )
    if not lines:
        return NOT_RUN
    return _table(["", "experiments", "bins", "n", "bound", *(_marked(name) for name in shown)], lines)


def _marked(name: str) -> str:
    return f"{name} †" if name == "factor mean" else name


def _fdr(folder: Path) -> str:
    lines = []
    for protocol in PROTOCOLS:
        for row in read_copy(folder, protocol.name, "fdr"):
            runs = row["n_runs"]
            lines.append(
                [
                    protocol.label,
                    row["kind"],
                    "all seeds as one" if row["predictor"] == ENSEMBLE else "single",
                    row["threshold_from"],
                    row["of"],
                    str(row["n_experiments"]),
                    f"{row['fdr']:.0%}".replace("%", " %"),
                    "" if math.isnan(row["achieved_fdr"]) else f"{100 * row['achieved_fdr']:.1f} %",
                    f"{row['calls'] / runs:,.0f}",
                    _number(row["recall"]),
                ]
            )
    if not lines:
        return NOT_RUN
    head = [
        "",
        "experiments",
        "model",
        "threshold",
        "of",
        "n",
        "stated",
        "achieved",
        "calls a model",
        "mean recall",
    ]
    return _table(head, lines)


def _learning(folder: Path) -> str:
    rows = read_learning(folder)
    if not rows:
        return NOT_RUN
    found: dict[tuple[str, str, float], list[float]] = {}
    for row in rows:
        found.setdefault((row["protocol"], row["what"], row["amount"]), []).append(row["mean_auprc"])
    lines = [
        [
            _label(protocol),
            {"factors": "training factors"}.get(what, what),
            f"{amount:g}",
            str(len(scores)),
            _number(math.fsum(scores) / len(scores)),
            f"{_number(min(scores))} to {_number(max(scores))}" if len(scores) > 1 else "",
        ]
        for (protocol, what, amount), scores in found.items()
    ]
    head = ["", "of", "amount", "seeds", "mean AUPRC", "lowest to highest"]
    image = _image("learning", f"Learning curves, {len(rows)} runs of a seed")
    return f"{image}\n{_table(head, lines)}"


def _steps(folder: Path) -> str:
    """A line a step: the base, what was added to it, and what was tried instead."""
    rows = read_steps(folder)
    if not rows:
        return NOT_RUN
    several = len({(row["base"], row["kind"]) for row in rows}) > 1
    lines = [
        [
            f"**{row['step']}**" if row["stayed"] == "yes" else f"or: {row['step']}",
            row["kind"] if several else "",
            row["extends"],
            "; ".join(filter(None, [row["description"].rstrip("."), _keys(row["changes"])])),
            f"{row['n_experiments']:g}",
            f"{_number(row['mean_auprc'])} ± {_number(row['sd_over_seeds'])}",
            _between(row["low"], row["high"]),
            _signed(row["gain"]),
            _between(row["gain_low"], row["gain_high"], "+"),
            _signed(row["gain_on_base"]),
            _minutes(row["seconds"]),
            _minutes(row["cpu_seconds"]),
            "" if math.isnan(row["weights"]) else f"{row['weights']:,.0f}",
        ]
        for row in rows
    ]
    head = ["step", "experiments", "on top of", "what", "n", "mean AUPRC, ± sd of seeds", "95 %", "gain", "95 %"]
    image = _image("steps", f"What each of {len(rows)} steps bought")
    return f"{image}\n{_table([*head, 'gain on the base', 'a training takes', 'CPU', 'weights'], lines)}"


def _keys(changes: str) -> str:
    """Keys and values as such; a table's bars are not theirs."""
    return f"`{changes}`".replace("|", "/") if changes else ""


def _signed(value: float) -> str:
    return "" if math.isnan(value) else f"{value:+.3f}"


def _between(low: float, high: float, sign: str = "") -> str:
    return "" if math.isnan(low) else f"{low:{sign}.3f} to {high:{sign}.3f}"


def _figure(folder: Path, name: str, alt: str, breakdown: str | None) -> str:
    """A figure of all protocols that have copies, or of those among them that have groups of a breakdown."""
    told = [protocol.name for protocol in PROTOCOLS if read_copy(folder, protocol.name, "summary")]
    if not told:
        return NOT_RUN
    shown = told if breakdown is None else grouped(folder, told, breakdown)
    labels = ", ".join(BY_NAME[each].label for each in shown)
    return _image(name, f"{alt}: {labels}" if labels else alt)


def _image(name: str, alt: str) -> str:
    return f"[![{alt}](results/{name}.png)](results/{name}.svg)\n"


def _summary(folder: Path, protocol: Protocol) -> list[dict[str, Any]]:
    """Means on 200-bp bins, over all folds."""
    return [row for row in read_copy(folder, protocol.name, "summary") if row["bins"] == DREAM_BINS]


def _is_models(predictor: str) -> bool:
    return predictor.startswith(MODEL) or predictor == "protein shuffled"


def _label(name: str) -> str:
    return BY_NAME[name].label if name in BY_NAME else name


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table; columns that are empty everywhere are left out, and what is no text stands to the right."""
    filled = [index for index in range(len(head)) if index == 0 or any(line[index] for line in lines)]
    rules = ["---" if _is_text([line[index] for line in lines]) else "---:" for index in filled]
    rows = [[head[index] for index in filled], rules, *([line[index] for index in filled] for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _is_text(cells: Sequence[str]) -> bool:
    return not any(re.match(r"[*<+-]*\d", cell) for cell in cells)


def _number(value: float, digits: int = 3) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _small(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2g}"


def _interval(row: Row, name: str, digits: int = 3) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "" if math.isnan(low) else f"{low:.{digits}f} to {high:.{digits}f}"


def _times(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f} x"


def _percent(value: float) -> str:
    return f"{100 * value:.2g} %"


def _range(values: Sequence[float], digits: int) -> str:
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return low if low == high else f"{low} to {high}"


def _minutes(seconds: float) -> str:
    return "" if math.isnan(seconds) else f"{seconds / 60:.1f} min"


def _mean_known(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
