"""Two processes, one of which works longer than their process group waits. Started by test_distributed.py as
`python patient_processes.py RANK PORT OUTCOME`."""

from __future__ import annotations

import os
import sys
import time
from datetime import timedelta

import torch.distributed as dist

from longmab_pl.datamodules.distributed import on_rank_zero

GROUP_SECONDS, WORK_SECONDS = 2, 3
"""How long the process group waits, and how long rank 0 works."""

rank, port, outcome = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
store = dist.TCPStore("127.0.0.1", port, 2, is_master=rank == 0, timeout=timedelta(seconds=120))
store.set(f"ready{rank}", "")
store.wait(["ready0", "ready1"], timedelta(seconds=120))
dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=GROUP_SECONDS))


def long_work() -> dict[str, int]:
    time.sleep(WORK_SECONDS)
    if outcome == "fails":
        raise ValueError("the engine is gone")
    if outcome == "dies":
        os._exit(9)
    return {"pairs": 3}


try:
    print(on_rank_zero(long_work), on_rank_zero(lambda: "again"))
    code = 0
except Exception as error:
    print(type(error).__name__, error)
    code = 1
sys.stdout.flush()
# Not `sys.exit`: gloo's threads may still wait for the other process, and the interpreter's end would abort them.
os._exit(code)
