"""What a thread has switched on; `engine/switches.py` has the switches for users: `no_grad`, `detect_anomaly` …"""

from __future__ import annotations

import itertools
import threading
from typing import Any


class Mode(threading.local):
    """The flags of the calling thread.

    Attributes:
        grad: record operations, so that gradients can flow through them.
        definition: run the engine exactly as the files of this folder say, without what `engine/` makes fast.
        watchers: objects that are told of every operation, and may look at every walk: anomaly detection, `explain`.
    """

    grad = True
    definition = False
    watchers: tuple[Any, ...] = ()


mode = Mode()

next_number = itertools.count(1).__next__
"""Numbers the events of the process, operations and writes in place alike: the later event has the larger number."""
