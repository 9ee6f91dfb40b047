from __future__ import annotations

import pytest

from longmab_pl.engines.vllm.gpu_memory import check_freed
from longmab_pl.errors import EngineError

GIB = 2**30


@pytest.mark.parametrize(("held", "before", "after"), [(36, 4, 40), (36, 4, 30), (0, 5, 5), (10, 0, 7)])
def test_enough_was_freed(held: int, before: int, after: int) -> None:
    check_freed(held * GIB, before * GIB, after * GIB)


@pytest.mark.parametrize(("held", "before", "after"), [(36, 4, 4), (36, 4, 28), (36, 10, 4)])
def test_too_little_was_freed(held: int, before: int, after: int) -> None:
    with pytest.raises(EngineError, match=rf"freed {after - before}\.0 GiB of the {held}\.0 GiB") as caught:
        check_freed(held * GIB, before * GIB, after * GIB)
    assert f"{before}.0 GiB before, {after}.0 GiB after" in str(caught.value)
