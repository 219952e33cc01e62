from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tfbind.core.errors import InputError
from tfbind.core.optional import load_optional


def test_a_module_that_is_there_is_given():
    assert load_optional("json.decoder", package="json", key="x") is sys.modules["json.decoder"]


def test_one_that_is_missing_or_broken_is_told_and_ends_nothing(tmp_path, monkeypatch):
    (tmp_path / "half_installed.py").write_text("import no_such_thing_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("no_such_thing_at_all", "half_installed"):
        with pytest.raises(InputError, match=r"key 'factors\.esm2'.*package fair-esm(?s:.*)pip install fair-esm"):
            load_optional(module, package="fair-esm", key="factors.esm2")


WITHOUT = """
import importlib, pkgutil, sys
for name in ("biotite", "enformer_pytorch", "esm", "peft", "pyjaspar", "sentencepiece", "transformers"):
    sys.modules[name] = None
import tfbind
for module in pkgutil.walk_packages(tfbind.__path__, "tfbind."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print("all of it,", tfbind.Model.__name__)
"""


def test_every_module_is_imported_without_what_only_some_settings_need():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "all of it, Model\n"), done.stderr
