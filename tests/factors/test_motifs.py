from __future__ import annotations

import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfbind.core.errors import InputError
from tfbind.factors.motifs import Motif, jaspar_motif, read_meme, resolve_motif, write_meme

HEADER = (
    "MEME version 4\n\nALPHABET= ACGT\n\nstrands: + -\n\n"
    "Background letter frequencies\nA .25 C .25 G .25 T .25\n\n"
)
ONE = "MOTIF M1 ONE\nletter-probability matrix: alength= 4 w= 2 nsites= 20 E= 0\n1 0 0 0\n0 0.5 0.5 0\n"


@pytest.fixture
def meme(tmp_path):
    def write(text):
        path = tmp_path / "m.meme"
        path.write_text(text)
        return path

    return write


@st.composite
def motifs(draw):
    rows = draw(
        st.lists(st.lists(st.integers(0, 9999), min_size=4, max_size=4).filter(any), min_size=1, max_size=8)
    )
    counts = np.array(rows, dtype=float)
    return Motif("M1", "ONE", counts / counts.sum(axis=1, keepdims=True))


def test_read_with_and_without_optional_fields(meme):
    text = (
        HEADER
        + ONE
        + "URL http://example.org/M1\n\nMOTIF M2\nlog-odds matrix: alength= 4 w= 2 n= 10 bayes= 5 E= 0\n"
        + " 100 -200 -200 -200\n -200 100 -200 -200\n\n"
        + "letter-probability matrix:\n 0.333 0.333 0.333 0\n0.25 .25 .25 .25\n"
    )
    read = read_meme(meme(text))
    assert [(m.identifier, m.name) for m in read.values()] == [("M1", "ONE"), ("M2", "M2")]
    np.testing.assert_array_equal(read["M1"].probabilities, [[1, 0, 0, 0], [0, 0.5, 0.5, 0]])
    np.testing.assert_allclose(read["M2"].probabilities[0], [1 / 3, 1 / 3, 1 / 3, 0])


def test_version_5_and_gzip(meme):
    path = meme((HEADER + ONE).replace("version 4", "version 5.5.7"))
    zipped = path.with_suffix(".meme.gz")
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(read_meme(zipped)["M1"].probabilities, read_meme(path)["M1"].probabilities)


@pytest.mark.parametrize(
    ("text", "row", "says"),
    [
        (
            HEADER + ONE.replace("0 0.5 0.5 0", "0 0.5 0.4 0"),
            13,
            "M1: the probabilities 0.0 0.5 0.4 0.0 do not sum to 1",
        ),
        (HEADER + ONE.replace("0 0.5 0.5 0", "0 1.5 -0.5 0"), 13, "do not sum to 1"),
        (HEADER + ONE.replace("0 0.5 0.5 0", "nan 0.5 0.5 0"), 13, "do not sum to 1"),
        (HEADER + ONE.replace("0 0.5 0.5 0", "0 0.5 0.5"), 13, "3 numbers, not 4"),
        (HEADER + ONE.replace("alength= 4", "alength= 20"), 11, "alength= 20, but DNA has 4 letters"),
        (HEADER + ONE.replace("w= 2", "w= 3"), 11, "2 rows of four numbers, but the header says w= 3"),
        (
            HEADER + ONE.replace("0 0.5 0.5 0", "0 x 0.5 0"),
            13,
            "1 rows of four numbers, but the header says w= 2",
        ),
        (HEADER + ONE + "\n" + ONE, 15, "motif M1 is there twice; first in row 10"),
        (HEADER + "MOTIF M0 ZERO\n\n" + ONE, 10, "motif M0 has no letter-probability matrix"),
        (HEADER + ONE + "\nMOTIF M2\n", 15, "motif M2 has no letter-probability matrix"),
        (HEADER + "MOTIF\n", 10, "a MOTIF line without an id"),
        (HEADER + ONE.replace("MOTIF M1 ONE\n", ""), 10, "a matrix without a MOTIF line"),
        (HEADER.replace("ACGT", "ACDEFGHIKLMNPQRSTVWY") + ONE, 3, "the alphabet is 'ACDEFGHIKLMNPQRSTVWY'"),
        (HEADER.replace("version 4", "version 3") + ONE, 1, "MEME version 3 is not read"),
        (">M1 ONE\nA [1 2]\n", 1, "no `MEME version` line"),
        (HEADER, None, "no motifs"),
    ],
)
def test_bad_meme_names_file_row_and_mend(meme, text, row, says):
    path = meme(text)
    with pytest.raises(InputError, match=r"mend:") as error:
        read_meme(path)
    assert says in str(error.value)
    assert (error.value.file, error.value.row) == (path, row)


@given(motif=motifs())
def test_round_trip_is_exact(tmp_path_factory, motif):
    path = tmp_path_factory.mktemp("meme") / "m.meme"
    write_meme(path, [motif], (0.31, 0.19, 0.19, 0.31))
    again = read_meme(path)["M1"]
    np.testing.assert_array_equal(again.probabilities, motif.probabilities)
    assert "e-" not in path.read_text()


def test_writing_a_motif_twice_is_refused_and_leaves_nothing(tmp_path):
    motif = Motif("M1", "ONE", np.full((3, 4), 0.25))
    with pytest.raises(InputError, match="M1 would be written twice"):
        write_meme(tmp_path / "m.meme", [motif, motif])
    assert not list(tmp_path.iterdir())


def test_real_file_round_trips_and_reads_as_by_biopython(yeast, tmp_path):
    from Bio import motifs as biopython

    real = read_meme(yeast / "motifs" / "jaspar2024_yeast.meme")
    assert len(real) == 170
    write_meme(tmp_path / "m.meme", real.values(), (0.31, 0.19, 0.19, 0.31))
    again = read_meme(tmp_path / "m.meme")
    assert list(again) == list(real)
    for identifier, motif in real.items():
        np.testing.assert_array_equal(again[identifier].probabilities, motif.probabilities)
    with (yeast / "motifs" / "jaspar2024_yeast.meme").open() as handle:
        theirs = biopython.parse(handle, "minimal")
    assert [motif.name for motif in theirs] == list(real)
    for motif in theirs:
        matrix = np.array([motif.pwm[base] for base in "ACGT"]).T
        # Biopython turns the probabilities into whole counts of the sites.
        np.testing.assert_allclose(matrix, real[motif.name].probabilities, atol=1 / motif.num_occurrences)


@given(motifs())
def test_log_odds_in_nats(motif):
    background, pseudocount = np.array([0.3, 0.2, 0.2, 0.3]), 1e-3
    scores = motif.log_odds(background, pseudocount)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    smoothed = background * np.exp(scores.astype(float))
    np.testing.assert_allclose(smoothed.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(smoothed, motif.probabilities, atol=2 * pseudocount)


def test_log_odds_equal_biopython(yeast):
    from Bio.motifs import Motif as BiopythonMotif

    motif = read_meme(yeast / "motifs" / "jaspar2024_yeast.meme")["MA0363.3"]
    counts = {b: list(motif.probabilities[:, i]) for i, b in enumerate("ACGT")}
    reference = BiopythonMotif(alphabet="ACGT", counts=counts).counts.normalize(pseudocounts=0.25e-3).log_odds()
    bits = np.array([reference[b] for b in "ACGT"]).T
    np.testing.assert_allclose(motif.log_odds(), bits * np.log(2), atol=1e-5)


@pytest.mark.parametrize(
    "settings", [{"background": (0.5, 0.5, 0, 0)}, {"background": (0.3,) * 4}, {"pseudocount": 0}]
)
def test_log_odds_refuses_what_is_not_finite(settings):
    with pytest.raises(ValueError, match="must be"):
        Motif("M", "M", np.full((2, 4), 0.25)).log_odds(**settings)


@pytest.mark.parametrize("matrix", [np.ones((2, 4)), np.full((2, 3), 1 / 3), np.zeros((0, 4)), [[2, -1, 0, 0]]])
def test_a_motif_is_a_matrix_of_probabilities(matrix):
    with pytest.raises(ValueError, match="motif M"):
        Motif("M", "M", matrix)


def test_jaspar_agrees_with_the_published_meme_file(yeast):
    real = read_meme(yeast / "motifs" / "jaspar2024_yeast.meme")
    for identifier, motif in list(real.items())[::8]:
        ours = jaspar_motif(identifier)
        assert (ours.identifier, ours.name) == (identifier, motif.name)
        np.testing.assert_allclose(ours.probabilities, motif.probabilities, atol=2e-6)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("identifier", ["MA0265.9", "MA0265"])
def test_unknown_jaspar_version_lists_the_others(identifier):
    with pytest.raises(
        InputError, match=rf"no motif '{identifier}' in JASPAR2024(?s:.*)MA0265\.1, MA0265\.2, MA0265\.3"
    ):
        jaspar_motif(identifier)


def test_unknown_jaspar_id_and_release():
    with pytest.raises(InputError, match=r"no motif 'MA999999\.1' in JASPAR2024"):
        jaspar_motif("MA999999.1")
    with pytest.raises(InputError, match="no motif 'REB1'"):
        jaspar_motif("REB1")
    with pytest.raises(InputError, match=r"unknown JASPAR release 'JASPAR1999'(?s:.*)JASPAR2024"):
        jaspar_motif("MA0265.3", release="JASPAR1999")


def test_resolve_motif(meme):
    motifs = read_meme(meme(HEADER + ONE + ONE.replace("M1 ONE", "M2 TWO") + ONE.replace("M1 ONE", "M3 TWO")))
    assert resolve_motif("M2", motifs, "JASPAR2024").identifier == "M2"
    assert resolve_motif("ONE", motifs, "JASPAR2024").identifier == "M1"
    assert resolve_motif("MA0265.3", motifs, "JASPAR2024").name == "ABF1"
    with pytest.raises(InputError, match=r"2 motifs are named 'TWO'(?s:.*)M2, M3"):
        resolve_motif("TWO", motifs, "JASPAR2024")
    with pytest.raises(InputError, match=r"no motif 'ONNE'(?s:.*)did you mean ONE"):
        resolve_motif("ONNE", motifs, "JASPAR2024")
    with pytest.raises(InputError, match=r"MA0265\.77"):
        resolve_motif("MA0265.77", motifs, "JASPAR2024")
    with pytest.raises(InputError, match="give a MEME file"):
        resolve_motif("zzz", {}, "JASPAR2024")


def test_a_meme_file_goes_before_jaspar(meme):
    motifs = read_meme(meme(HEADER + ONE.replace("M1", "MA0265.3")))
    assert len(resolve_motif("MA0265.3", motifs, "JASPAR2024")) == 2
