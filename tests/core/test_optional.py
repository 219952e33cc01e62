from __future__ import annotations

import sys

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
