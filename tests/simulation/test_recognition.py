from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfbind.core.errors import InputError
from tfbind.factors.proteins import STANDARD_AMINO_ACIDS
from tfbind.simulation.recognition import BASES, CODE, CONSERVATIVE, REPEAT, random_factor, read_motif


@given(seed=st.integers(0, 2**32), width=st.integers(1, 20))
@settings(max_examples=60)
def test_the_code_reads_every_drawn_protein(seed, width):
    protein, pwm = random_factor(np.random.default_rng(seed), width)
    assert pwm.shape == (width, 4)
    assert np.array_equal(read_motif(protein), pwm)
    assert set(protein) <= set(STANDARD_AMINO_ACIDS)
    assert 60 + 40 <= len(protein) - 34 * width <= 140 + 100


def test_equal_streams_make_equal_factors_and_others_differ():
    first, again, other = (random_factor(np.random.default_rng(seed), 9)[0] for seed in (1, 1, 2))
    assert first == again != other


def test_code_and_repeat_are_those_of_tal_effectors():
    preferred = {name: BASES[int(np.argmax(row))] for name, row in CODE.items()}
    assert preferred == {"NI": "A", "HD": "C", "NN": "G", "NG": "T"}
    assert all(sum(row) == pytest.approx(1) for row in CODE.values())
    assert len(REPEAT) == 34
    assert REPEAT[11:13] == "xx"


def test_an_exchanged_diresidue_exchanges_one_base():
    repeats = [REPEAT.replace("xx", name) for name in ("NI", "HD", "NN", "NG")]
    assert np.array_equal(read_motif("MSS" + "".join(repeats)), np.array(list(CODE.values())))
    repeats[1] = REPEAT.replace("xx", "NG")
    assert [int(i) for i in read_motif("".join(repeats)).argmax(axis=1)] == [0, 3, 2, 3]


def test_repeats_vary_outside_the_diresidue_only_conservatively():
    protein, _ = random_factor(np.random.default_rng(0), 40)
    motif = REPEAT.replace("xx", "..")
    start = next(i for i in range(len(protein)) if sum(map(str.__eq__, protein[i : i + 34], motif)) >= 29)
    changed = 0
    for i in range(start, start + 40 * 34, 34):
        for position, (residue, usual) in enumerate(zip(protein[i : i + 34], REPEAT, strict=True), 1):
            if position in (12, 13) or residue == usual:
                continue
            assert position not in (11, 14)
            assert residue in CONSERVATIVE[usual]
            changed += 1
    assert 0 < changed <= 40 * 3


@pytest.mark.parametrize("protein", ["", "MKV", "M" + "GASTP" * 40])
def test_a_protein_without_repeats_is_an_error(protein):
    with pytest.raises(InputError, match="no TAL repeat"):
        read_motif(protein)


def test_an_unknown_diresidue_is_an_error_that_names_it():
    with pytest.raises(InputError, match="diresidue WW"):
        read_motif(REPEAT.replace("xx", "NI") + REPEAT.replace("xx", "WW"))
