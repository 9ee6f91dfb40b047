"""Entry point of `python -m longmab_pl` and of the `longmab` command."""

from __future__ import annotations

import os
import sys

# OpenMP threads that spin while they wait slow each other down on a busy CPU (decode steps up to ten times slower).
# Threads that sleep cost about 10% on an idle CPU. The setting must be made before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def main() -> None:
    """Run the `longmab` command."""
    from longmab_pl.cli.main import main as run

    try:
        run()
    except SystemExit as stopped:
        if stopped.code in (None, 0):
            raise
        if isinstance(stopped.code, str):
            print(stopped.code, file=sys.stderr)
        # After an error nothing is worth waiting for: threads of libraries would keep the process for seconds.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(stopped.code if isinstance(stopped.code, int) else 1)


if __name__ == "__main__":
    main()
