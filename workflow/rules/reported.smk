# What the report says of each result. Rules name the heading under which a result stands, its caption
# (workflow/report/CAPTION.rst) and what it is called.

# The report has them in this order.
MADE = "1. What was made"
GOOD = "2. How good it is"
WHY = "3. Why to believe it"
EACH = "4. Factor by factor"
FILES = "5. Files"

# In a line, by caption; or by file, where a rule has several.
TELLS = {
    "simulate": "sites and settings of the simulated world",
    "reference": "chromosomes, their sizes and checksums",
    "accessibility": "what the accessibility track was made from",
    "signal": "what the further signal was made from",
    "targets": "calls and bound bins of each experiment, checksums",
    "factors": "proteins and motifs, by factor",
    "contexts": "what is said of the cell type",
    "split": "what is trained on, what stops training, what is tested",
    "homology": "tested sequence that stands in the training regions, too",
    "train": "settings, training manifest, thresholds and checksum of the model",
    "history.tsv": "loss and validation score by step",
    "plot_history": "loss and validation score by step",
    "ensemble": "settings, training manifest, thresholds and checksum of the models as one",
    "embed": "model, genome and place of a shard",
    "assemble": "model, genome and checksums of the genome embedding",
    "tracks.tsv": "calls and thresholds of each track",
    "sites.tsv": "the most probable sites of each track",
    "profiles": "mean prediction around measured calls",
    "evaluation.svg": "AUPRC of each predictor; tfbind against the best other",
    "metrics.tsv": "each experiment and predictor",
    "summary.tsv": "means over experiments",
    "breakdown.tsv": "scores of parts of the genome",
    "reliability.tsv": "predicted and observed frequencies of each experiment",
    "fdr.tsv": "calls at the stated false discovery rate, of each experiment",
    "groups.tsv": "means over parts of the genome and groups of experiments",
    "ablate": "variants of the model, side by side",
    "run.tsv": "the facts of the first page",
    "times.tsv": "how long each step took",
    "evaluation_page": "figures and tables of the page",
    "split.tsv": "what each part of the split holds",
    "cross_validation_page": "figures and tables of the page",
    "folds.tsv": "what each fold holds, and how long its trainings took",
    "baselines.svg": "tfbind against each other predictor",
    "reliability.svg": "predicted and observed frequencies",
    "fdr.svg": "stated and achieved false discovery rate",
    "experiments.tsv": "AUPRC of each experiment: a column a predictor",
}


def listed(category, caption, name, group=None):
    """Heading, caption and label of a result, for `report`.

    `name` may hold wildcards; the label says what the result tells, by the file at the name's end or the caption.
    """

    def label(wildcards):
        named = name.format(**dict(wildcards.items()))
        file = Path(named.split()[-1]).name
        return {"result": f"{named}: {TELLS.get(file) or TELLS[caption]}"}

    return {
        "category": category,
        "subcategory": group or (caption if category == FILES else None),
        "caption": f"../report/{caption}.rst",
        "labels": label,
    }


def page(category, caption, name):
    """As `listed`, of a page, which stands above files."""
    return {
        "category": category,
        "caption": f"../report/{caption}.rst",
        "labels": {"result": f"\N{BLACK RIGHT-POINTING TRIANGLE} {name}"},
    }
