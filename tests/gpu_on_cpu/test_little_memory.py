"""A card with 100 MB: what does not fit says so, and what comes after works."""

from __future__ import annotations

import pytest

import tinygrad_med as tm
from tests.gpu_on_cpu.running import needs

pytestmark = needs(MEMORY="100000000")


def test_a_full_card_says_what_to_do_and_can_be_used_again():
    x = tm.ones(2000, 2000, device="cuda")  # 16 MB
    with pytest.raises(tm.cuda.OutOfMemoryError, match="memory is full.*smaller batch"):
        kept = [x * i for i in range(10)]
    with pytest.raises(tm.cuda.OutOfMemoryError, match="memory is full"):
        tm.ones(6000, 6000).cuda()
    with pytest.raises(tm.cuda.OutOfMemoryError, match="memory is full"):
        tm.ones(6000, 6000).pin_memory().to("cuda", non_blocking=True)
    kept = None
    assert kept is None and (x + 1).sum().item() == 8_000_000
    free, total = tm.cuda.mem_get_info()
    assert total == 100_000_000 and free < total
