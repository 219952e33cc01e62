"""From configuration and tables to the factor set: every way to embed, through the command line."""

from __future__ import annotations

import hashlib
import shutil

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from tests.factors.checkpoints import DIM, write_bert, write_esm1b, write_esm2, write_t5
from tests.factors.structures import peptide, write_structure
from tfbind.cli import main
from tfbind.config import load_config
from tfbind.core.files import sha256_file
from tfbind.downloads import download_batches
from tfbind.factors.factorset import FactorSet
from tfbind.factors.structure import COLUMNS
from tfbind.inputs import factor_files
from tfbind.tables import read_tables

JUN, JUN2, FOS = "MTAKMETTFYDDALNASFL", "MKMETTFYDD", "MMFSGFNADYEASSSRCSS"
FASTA = f">sp|P05412|JUN_HUMAN x GN=JUN\n{JUN}\n>sp|P05412-2|JUN_HUMAN Isoform 2\n{JUN2}\n>P01100\n{FOS}\n"
FACTORS = "factor\tuniprot\nJUN\tP05412\nJUN2\tP05412-2\nAP1\tP05412; P01100\n"
LENGTHS = {"JUN": 19, "JUN2": 10, "AP1": 38}


class World:
    """A configuration with tables and proteins, in a folder of its own, which is the working directory."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "proteins.fa").write_text(FASTA)
        (folder / "genome.fa").write_text(">chr1\nACGT\n")
        (folder / "peaks.bed").write_text("chr1\t0\t2\n")
        self.table(FACTORS)
        (folder / "cells.tsv").write_text("cell_type\nYPD\n")
        (folder / "experiments.tsv").write_text("factor\tcell_type\tpeaks\nJUN\tYPD\tpeaks.bed\n")

    def table(self, text):
        (self.folder / "factors.tsv").write_text(text)

    def config(self, **factors):
        values = {
            "name": "small",
            "device": "cpu",
            "tables": {
                "factors": "factors.tsv",
                "cell_types": "cells.tsv",
                "experiments": "experiments.tsv",
            },
            "reference": {"fasta": "genome.fa"},
            "splits": {"validation": ["chr2"], "test": ["chr3"]},
            "factors": {"proteins": ["proteins.fa"], **factors},
        }
        (self.folder / "config.yaml").write_text(yaml.safe_dump(values))
        return self.folder / "config.yaml"

    def run(self, verb, *arguments, **factors):
        path = self.config(**factors)
        return CliRunner().invoke(main, [verb, "--config", str(path), *arguments])

    def factor_set(self, **factors):
        checked = self.run("check", **factors)
        assert checked.exit_code == 0, checked.output
        result = self.run("factors", "--output", "set", **factors)
        assert result.exit_code == 0, result.output
        return FactorSet.open("set")

    def files(self, **factors):
        config = load_config(self.config(**factors))
        return [path.as_posix() for path in factor_files(config, read_tables(config))]

    def refused(self, *words, verbs=("check", "factors"), **factors):
        for verb in verbs:
            result = self.run(verb, *(["--output", "set"] if verb == "factors" else []), **factors)
            assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.output
            assert "mend: " in result.stderr and "Traceback" not in result.stderr
            for word in words:
                assert word in result.stderr, result.stderr


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return World(tmp_path)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    import torch

    from tests.factors.test_fair_esm import tuned_weights

    torch.save(tuned_weights(), folder / "dbp.pt")
    arrays = folder / "arrays"
    arrays.mkdir()
    for accession, sequence in (("P05412", JUN), ("P05412-2", JUN2), ("P01100", FOS)):
        np.save(arrays / f"{accession}.npy", np.ones((len(sequence), DIM)))
    esm2, esm1b = write_esm2(folder), write_esm1b(folder)
    return {
        "esm2": {"checkpoint": str(esm2)},
        "esm1b": {"checkpoint": str(esm1b)},
        "finetuned": {"checkpoint": str(esm2), "finetuned": str(folder / "dbp.pt")},
        "t5": {"folder": str(write_t5(folder / "t5"))},
        "bert": {"folder": str(write_bert(folder / "bert")), "max_length": 150, "overlap": 20},
        "alphafold": {"folder": str(arrays)},
    }


@pytest.mark.parametrize(
    ("embedder", "settings", "files"),
    [
        ("esm2", "esm2", ["esm2_tiny.pt"]),
        ("esm2", "finetuned", ["esm2_tiny.pt", "dbp.pt"]),
        ("esm1b", "esm1b", ["esm1b_tiny.pt"]),
        ("huggingface", "t5", ["t5/spiece.model", "t5/model.safetensors"]),
        ("huggingface", "bert", ["bert/vocab.txt"]),
        ("alphafold", "alphafold", ["P05412.npy", "P05412-2.npy", "P01100.npy"]),
    ],
)
def test_every_embedder_runs_by_the_command_line(world, weights, embedder, settings, files):
    chosen = {"embedder": embedder, embedder: weights[settings]}
    opened = world.factor_set(**chosen)
    assert {name: len(opened.embedding(name)) for name in opened.names} == LENGTHS
    assert opened.dim == DIM
    np.testing.assert_array_equal(opened.embedding("AP1")[:19], opened.embedding("JUN"))
    listed = world.files(**chosen)
    assert "proteins.fa" in listed
    for file in files:
        assert any(path.endswith(f"/{file}") for path in listed), listed


def test_isoforms_are_those_of_the_table_each_time(world):
    for _ in range(2):
        opened = world.factor_set()
        for name, sequence in (("JUN", JUN), ("JUN2", JUN2)):
            entry = opened.entries[opened.index(name)]
            assert entry["sequence_sha256"] == hashlib.sha256(sequence.encode()).hexdigest()
    world.table("factor\tuniprot\nJUN\tP05412-3\n")
    world.refused("the protein P05412-3 of JUN is in no FASTA", "column 'uniprot'")


def test_checksums_of_a_complex(world):
    sums = [hashlib.sha256(sequence.encode()).hexdigest() for sequence in (JUN, FOS)]
    head = "factor\tuniprot\tsequence_sha256\nJUN\tP05412\t\nAP1\tP05412;P01100\t"
    world.table(f"{head}{sums[0]} ; {sums[1]}\n")
    assert len(world.factor_set().embedding("AP1")) == 38
    world.table(f"{head}{sums[1]};{sums[0]}\n")
    world.refused(f"has sha256 {sums[0]};{sums[1]}, expected {sums[1]};{sums[0]}")
    world.table(f"{head}{sums[0]}\n")
    world.refused("column 'sequence_sha256': lists 1, and 'uniprot' 2 of factor AP1")


def test_sequences_of_a_complex_in_the_table(world):
    world.table(f"factor\tsequence\nJUN\t{JUN}\nAP1\t{JUN};{FOS.lower()}\n")
    opened = world.factor_set()
    assert [each["accession"] for each in opened.entries[1]["proteins"]] == ["AP1.1", "AP1.2"]
    world.table(f"factor\tuniprot\tsequence\nJUN\tP05412\t{JUN}\nAP1\tP05412;P01100\t{JUN}\n")
    world.refused("column 'sequence': lists 1, and 'uniprot' 2 of factor AP1", "row 3")
    world.table("factor\tuniprot\nJUN\tP05412\nAP1\tP05412;\n")
    world.refused("'' is no UniProt accession", "row 3")


def test_a_complex_is_fetched_from_uniprot_protein_by_protein(world):
    config = load_config(world.config(proteins=[]))
    wanted = [each.url.rpartition("/")[2] for each in download_batches(config, read_tables(config))["proteins_1"]]
    assert wanted == ["P01100.fasta", "P05412.fasta", "P05412-2.fasta"]


# --- regions ---

DOMAINS = "accession\tstart\tend\tname\nP05412\t3\t6\tbZIP\nP01100\t2\t4\tbZIP\n"


def test_domains_by_the_command_line(world):
    (world.folder / "pfam.tsv").write_text(DOMAINS)
    chosen = {"region": "domain_with_flank", "flank": 2, "domains": "pfam.tsv", "without_domain": "whole"}
    opened = world.factor_set(**chosen)
    entry = opened.entries[opened.index("AP1")]
    assert [each["residues"] for each in entry["proteins"]] == [[[0, 8]], [[0, 6]]]
    assert len(opened.embedding("AP1")) == 14 and len(opened.embedding("JUN2")) == 10
    assert "pfam.tsv" in world.files(**chosen)
    cut = opened.embedding("JUN")
    whole = world.factor_set()
    np.testing.assert_array_equal(cut, whole.embedding("JUN")[:8])
    assert opened.embedder != whole.embedder
    assert "pfam.tsv" not in world.files(domains="pfam.tsv")


def test_what_is_wrong_with_domains_is_told(world):
    world.refused("region `domain` needs the domains", region="domain")
    world.refused("'factors.domains'", "pfam.tsv is not there", region="domain", domains="pfam.tsv")
    (world.folder / "pfam.tsv").write_text(DOMAINS)
    world.refused("the protein P05412-2 (JUN2) has no domain", region="domain", domains="pfam.tsv")
    world.refused(
        "checksum differs", region="domain", domains={"source": "pfam.tsv", "sha256": "0" * 64}, verbs=["factors"]
    )


# --- structures ---


def model(folder, name, sequence):
    angles = np.full((3, len(sequence)), 175.0)
    return write_structure(folder / name, peptide(sequence, *angles))


def test_structures_of_a_folder_and_of_the_table(world):
    model(world.folder, "afdb/AF-P05412-F1-model_v4.cif", JUN)
    model(world.folder, "afdb/AF-P05412-2-F1-model_v4.pdb.gz", JUN2)
    jun, fos = model(world.folder, "own/jun.cif", JUN), model(world.folder, "own/fos.pdb", FOS)
    world.table(
        "factor\tuniprot\tstructure\tsha256\nJUN\tP05412\t\t\nJUN2\tP05412-2\t\t\n"
        f"AP1\tP05412;P01100\town/jun.cif;own/fos.pdb\t{sha256_file(jun)};\n"
    )
    chosen = {"structure": {"folder": "afdb"}}
    opened = world.factor_set(**chosen)
    assert opened.dim == 28 + len(COLUMNS)
    for name, length in LENGTHS.items():
        assert (opened.embedding(name)[:, 28] == 1).all() and len(opened.embedding(name)) == length
    entry = opened.entries[opened.index("AP1")]
    assert [each["structure_sha256"] for each in entry["proteins"]] == [sha256_file(jun), sha256_file(fos)]
    listed = world.files(**chosen)
    for file in ("afdb/AF-P05412-F1-model_v4.cif", "afdb/AF-P05412-2-F1-model_v4.pdb.gz", "own/fos.pdb"):
        assert file in listed
    assert "own/fos.pdb" not in world.files()


def test_structures_by_url_are_downloaded_and_verified(world):
    base = "https://alphafold.ebi.ac.uk/files/AF-P05412-F1-model_v4.cif"
    made = model(world.folder, "mirror/alphafold.ebi.ac.uk/files/AF-P05412-F1-model_v4.cif", JUN)
    world.table(f"factor\tuniprot\tstructure\tsha256\nJUN\tP05412\t{base}\t{sha256_file(made)}\n")
    path = world.config(structure={})
    config = load_config(path)
    (batch,) = (
        batch for name, batch in download_batches(config, read_tables(config)).items() if "struct" in name
    )
    assert [(each.url, each.sha256) for each in batch] == [(base, sha256_file(made))]
    world.refused("run `tfbind download`", structure={}, verbs=["factors"])
    values = yaml.safe_load(path.read_text()) | {"mirror": "mirror"}
    path.write_text(yaml.safe_dump(values))
    done = CliRunner().invoke(main, ["download", "--config", str(path)])
    assert done.exit_code == 0, done.output
    assert (world.factor_set(structure={}).embedding("JUN")[:, 28] == 1).all()
    assert "structures_1" not in download_batches(load_config(world.config()), read_tables(config))


def test_what_is_wrong_with_structures_is_told(world):
    world.refused("the folder afdb is not there", structure={"folder": "afdb"}, verbs=["check"])
    model(world.folder, "afdb/P05412.cif", JUN[:-1])
    world.refused("there is no structure of P05412-2 (JUN2)", structure={"folder": "afdb"}, verbs=["check"])
    world.refused("has 18 of the 19 residues of P05412", structure={"folder": "afdb"}, verbs=["factors"])
    world.table("factor\tuniprot\tstructure\nJUN\tP05412\thttps://example.org/x.cif\n")
    world.refused("row 2, column 'sha256'", "needs its checksum", structure={})
    world.table("factor\tuniprot\tstructure\nJUN\tP05412\tx.cif\n")
    world.refused("row 2, column 'structure'", "x.cif is not there", structure={})
    world.table("factor\tuniprot\tstructure\nJUN\tP05412\tx.cif;\n")
    world.refused("row 2, column 'structure'", "has no name", structure={})
    world.table("factor\tuniprot\tstructure\tsha256\nJUN\tP05412\tx.cif\t" + ";".join(["0" * 64] * 2) + "\n")
    world.refused("row 2, column 'sha256'", "has 2 checksums for 1 files", structure={})
    world.table("factor\tuniprot\tstructure\nJUN\tP05412\ta.cif;b.cif\n")
    world.refused("column 'structure': lists 2, and 'uniprot' 1 of factor JUN", structure={})


# --- files of embedders ---


def test_files_of_embedders_that_are_not_there_are_told(world, weights, tmp_path):
    world.refused("'factors.esm2.checkpoint'", embedder="esm2", esm2={"checkpoint": "esm2_x.pt"})
    world.refused("'factors.esm2.finetuned'", embedder="esm2", esm2={"finetuned": "x.pt"})
    world.refused("'factors.esm1b.checkpoint'", embedder="esm1b", esm1b={"checkpoint": "esm1b_x.pt"})
    world.refused("'factors.huggingface.folder'", embedder="huggingface", huggingface={"folder": "t5"})
    world.refused("give alphafold.folder", embedder="alphafold")
    world.refused("'factors.alphafold.folder'", embedder="alphafold", alphafold={"folder": "arrays"})
    shutil.copytree(weights["alphafold"]["folder"], "arrays")
    (tmp_path / "arrays" / "P01100.npy").unlink()
    world.refused("there is no array of P01100", embedder="alphafold", alphafold={"folder": "arrays"})
    np.save(tmp_path / "arrays" / "P01100.npy", np.ones((20, DIM)))
    world.refused("has 20 rows, and the protein 19", embedder="alphafold", alphafold={"folder": "arrays"})


def test_the_language_model_runs_on_the_device_of_the_run(world, weights):
    path = world.config(embedder="esm2", esm2=weights["esm2"])
    path.write_text(path.read_text().replace("device: cpu", "device: cuda"))
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    result = CliRunner().invoke(main, ["factors", "--config", str(path), "--output", "set"])
    assert result.exit_code == 1 and "key 'device': no GPU is seen" in result.stderr
    # Scales run nowhere but here.
    path = world.config()
    path.write_text(path.read_text().replace("device: cpu", "device: cuda"))
    assert CliRunner().invoke(main, ["factors", "--config", str(path), "--output", "set"]).exit_code == 0
