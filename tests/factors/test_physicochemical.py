from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfbind.core.errors import InputError
from tfbind.factors.physicochemical import PhysicochemicalEmbedder
from tfbind.factors.proteins import AMINO_ACIDS, STANDARD_AMINO_ACIDS, read_proteins


@pytest.fixture(scope="module")
def embedder():
    return PhysicochemicalEmbedder()


def test_one_hot_and_standardised_scales(embedder):
    (table,) = embedder.embed([STANDARD_AMINO_ACIDS])
    assert table.dtype == np.float32
    assert table.shape == (20, embedder.dim) == (20, len(embedder.columns))
    np.testing.assert_array_equal(table[:, :20], np.eye(20))
    np.testing.assert_allclose(table[:, 20:].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(table[:, 20:].std(axis=0), 1, atol=1e-5)
    assert len({row.tobytes() for row in table[:, 20:]}) == 20


def test_hydropathy_is_biopythons(embedder):
    from Bio.SeqUtils.ProtParamData import kd

    reference = np.array([kd[letter] for letter in STANDARD_AMINO_ACIDS])
    (table,) = embedder.embed([STANDARD_AMINO_ACIDS])
    ours = table[:, embedder.columns.index("hydropathy")]
    np.testing.assert_allclose(ours, (reference - reference.mean()) / reference.std(), atol=1e-5)


def test_charge_at_ph_7(embedder):
    (table,) = embedder.embed([STANDARD_AMINO_ACIDS])
    charge = dict(zip(STANDARD_AMINO_ACIDS, table[:, embedder.columns.index("charge")], strict=True))
    assert charge["D"] < charge["E"] < charge["C"] < charge["A"] < charge["H"] < charge["K"] < charge["R"]
    # The scale is linear: (H - 0) : (R - 0) is the share of charged histidines at pH 7, pK 5.98.
    assert (charge["H"] - charge["A"]) / (charge["R"] - charge["A"]) == pytest.approx(
        1 / (1 + 10**1.02), rel=1e-3
    )


@pytest.mark.parametrize(
    ("letter", "options"),
    [("X", STANDARD_AMINO_ACIDS), ("B", "DN"), ("Z", "EQ"), ("J", "IL"), ("U", "C"), ("O", "K")],
)
def test_uncertain_residues_are_the_mean_of_what_they_may_be(embedder, letter, options):
    one, several = embedder.embed([letter, options])
    np.testing.assert_allclose(one[0], several.mean(axis=0), atol=2e-6)


@given(st.lists(st.text(AMINO_ACIDS, min_size=1, max_size=29), min_size=1, max_size=4))
def test_each_residue_stands_for_itself(sequences):
    embedder = PhysicochemicalEmbedder()
    together = embedder.embed(sequences)
    assert [len(e) for e in together] == [len(s) for s in sequences]
    (joined,) = embedder.embed(["M".join(sequences)])
    apart = embedder.embed(["M"])[0]
    expected = [part for e in together for part in (apart, e)][1:]
    np.testing.assert_array_equal(joined, np.concatenate(expected))


def test_version_follows_the_table(embedder):
    # Cached embeddings hang on this: a change of the scales must change it, nothing else may.
    assert embedder.version == PhysicochemicalEmbedder().version == "2b142677596b87c8"


def test_no_amino_acid(embedder):
    with pytest.raises(InputError, match="'-' at position 3"):
        embedder.embed(["MK-"])


def test_real_yeast_proteins(yeast, embedder):
    sequences = [protein.sequence for protein in read_proteins([yeast / "proteins.fa"]).values()]
    for sequence, embedded in zip(sequences, embedder.embed(sequences), strict=True):
        assert "".join(STANDARD_AMINO_ACIDS[i] for i in embedded[:, :20].argmax(axis=1)) == sequence
