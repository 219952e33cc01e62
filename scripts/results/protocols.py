"""The protocols that the page tells of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Protocol:
    """What is held out, under a name.

    Attributes
    ----------
    name
        Of the run: its results stand in results/NAME.
    label
        On the page.
    held_out
        In words.
    """

    name: str
    label: str
    held_out: str


HUMAN_END, YEAST_TWO = "the end of chrX", "chrIV and chrXIII"
PROTOCOLS = (
    Protocol("human-h1", "H1", f"nothing but {HUMAN_END}"),
    Protocol("human-h2", "H2", f"each cell type in turn; {HUMAN_END}"),
    Protocol("human-h3", "H3", f"factors with their relatives, in folds; {HUMAN_END}"),
    Protocol("human-h4", "H4", f"factors with their relatives, in folds, and GM12878; {HUMAN_END}"),
    Protocol("yeast-y1", "Y1", f"nothing but {YEAST_TWO}"),
    Protocol("yeast-y2", "Y2", f"factors with their relatives, in folds; {YEAST_TWO}"),
)
# The same trained otherwise, or with fewer motifs: they have no tables, but a line each, below the one that its
# label adds to, from the last comma on.
TRAININGS = (
    Protocol("human-h1-enformer", "H1, by an Enformer", f"nothing but {HUMAN_END}"),
    Protocol("human-h1-both", "H1, by both as one", f"nothing but {HUMAN_END}"),
    Protocol("human-h2-motifs", "H2, by known motifs", f"each cell type in turn; {HUMAN_END}"),
    Protocol("human-h3-shorter", "H3, trained for a third", f"as H3; {HUMAN_END}"),
)
IN_VITRO = (
    Protocol("human-h1-in-vitro", "H1, motifs in vitro", f"nothing but {HUMAN_END}"),
    Protocol("human-h3-in-vitro", "H3, trained for a third, motifs in vitro", f"as H3; {HUMAN_END}"),
)
EVERY = (*PROTOCOLS, *TRAININGS, *IN_VITRO)
# In what a predictor sees: it looks at what is to be predicted, so no model could do the same.
PEEKS = "at the tested bins"
BY_NAME = {protocol.name: protocol for protocol in EVERY}
