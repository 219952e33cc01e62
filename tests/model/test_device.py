from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tfbind.core.errors import InputError
from tfbind.model import precision
from tfbind.model.device import choose_device, claim_gpus, reported


def test_auto_takes_a_gpu_where_there_is_one():
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu").type == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error():
    with pytest.raises(InputError, match="no GPU") as caught:
        choose_device("cuda")
    assert caught.value.key == "device"


@pytest.mark.parametrize(
    ("asked", "instructions", "told"),
    [
        ("fp32", False, ""),
        ("bf16", True, ""),
        ("bf16", False, "no instructions for bf16 and would be slow in it: it computes in fp32"),
        ("fp16", True, "fp16 is slow on a CPU"),
    ],
)
def test_a_step_says_where_its_precision_is_no_good(capsys, monkeypatch, asked, instructions, told):
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: instructions)
    with reported(torch.device("cpu"), asked):
        pass
    said = capsys.readouterr().err.splitlines()
    assert f"precision: {asked}, torch" in said[0] and said[-1].startswith("peak memory")
    assert len(said) == (3 if told else 2) and told in said[1]


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="needs Linux's list of a CPU's instructions")
def test_instructions_for_bfloat16_are_those_that_linux_lists():
    flags = Path("/proc/cpuinfo").read_text().split()
    assert precision.cpu_has_bfloat16() == any(flag in flags for flag in ("avx512_bf16", "amx_bf16", "bf16"))


def claim_elsewhere(folder, count):
    """Another process that has claimed GPUs, and ends when its standard input does."""
    code = (
        "import sys; from pathlib import Path; from tfbind.model.device import claim_gpus; "
        f"print(claim_gpus(['0', '1', '5'], {count}, Path({str(folder)!r})), flush=True); sys.stdin.read()"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, **pipes)


def test_jobs_side_by_side_have_gpus_of_their_own(tmp_path):
    with claim_elsewhere(tmp_path, 2) as other:
        assert other.stdout.readline() == "['0', '1']\n"
        with pytest.raises(InputError, match="only 1 of 0, 1, 5 are free"):
            claim_gpus(["0", "1", "5"], 2, tmp_path)
        other.stdin.close()
        other.wait()
    with claim_elsewhere(tmp_path, 1) as third:
        # 5 is this process's since the attempt above; what the ended process had is free again.
        assert third.stdout.readline() == "['0']\n"
        assert claim_gpus(["0", "1"], 1, tmp_path) == ["1"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_predicts_what_the_cpu_predicts(make_model, make_factors, make_contexts, codes):
    window = [
        codes(2, 16 * 8),
        make_factors([9, 4], [5, 0]),
        make_contexts(torch.ones(2, 8, 2), [True, False]),
        torch.tensor([[0, 0], [1, 1]]),
    ]
    model = make_model()
    with torch.no_grad():
        expected = model(*window).binding
        found = model.to("cuda")(*(value.to("cuda") for value in window)).binding
    torch.testing.assert_close(found.cpu(), expected, atol=1e-3, rtol=1e-3)
