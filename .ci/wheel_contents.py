"""Check that an installed wheel has every file of the clone, and that it can be read. Argument: the clone."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import longmab_pl
from longmab_pl.data.readers import read_records
from longmab_pl.exports import public_names

clone = Path(sys.argv[1])
installed = Path(longmab_pl.__file__).parent
assert not installed.is_relative_to(clone), f"{installed} is the clone and not the wheel"

homes = {"longmab_pl": installed, "callbacks": installed / "callbacks", "configs": installed / "configs"}
missing = [
    str(file.relative_to(clone))
    for name, home in homes.items()
    for file in sorted((clone / name).rglob("*"))
    if file.is_file() and "__pycache__" not in file.parts and not (home / file.relative_to(clone / name)).is_file()
]
assert not missing, f"the wheel lacks {missing}; see [tool.setuptools] in pyproject.toml"

for source in ("shipped:synthetic_train", "shipped:synthetic_eval"):
    assert read_records(source).records, source
names = list(public_names())
for path in names:
    module, _, name = path.rpartition(".")
    assert getattr(import_module(module), name).__name__ == name, path
print(f"the wheel has all files of the clone; {len(names)} public names import from {installed}")
