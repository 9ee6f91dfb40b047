"""Isolation of this process's environment and output from a library that runs in it."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def isolated_environment() -> Iterator[None]:
    """Undo changes to the environment at the end of the block, except vLLM's `VLLM_*` variables, which it reads later.

    vLLM sets LD_PRELOAD, LOCAL_WORLD_SIZE and others for its workers; they are wrong for every other child process.
    """
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            if not name.startswith("VLLM_"):
                del os.environ[name]
        for name, value in before.items():
            if not name.startswith("VLLM_"):
                os.environ[name] = value


@contextlib.contextmanager
def quiet_output(verbose: bool) -> Iterator[Path | None]:
    """Redirect standard output and error, also of C++ code, to a file, and yield its path.

    The file exists inside the block only. With `verbose` nothing is redirected and None is yielded.
    """
    if verbose:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="longmab-vllm-") as folder, contextlib.ExitStack() as stack:
        log = Path(folder) / "output.log"
        sink = stack.enter_context(log.open("wb"))
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for number in (1, 2):
            saved = os.dup(number)
            stack.callback(os.close, saved)
            stack.callback(os.dup2, saved, number)
            os.dup2(sink.fileno(), number)
        yield log
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
