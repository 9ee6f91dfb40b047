"""`python -m longmab_pl`, and what the `longmab` command calls."""

from __future__ import annotations

import os

# OpenMP threads that spin while they wait starve one another on a CPU that has other work (decode steps ten times
# slower were seen); asleep they cost about a tenth on an idle one. It must be said before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def main() -> None:
    from longmab_pl.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
