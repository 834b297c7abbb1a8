"""python -m tests.gpu_on_cpu build | run WHAT… (as after `python`: a file, -m pytest …)"""

from __future__ import annotations

import os
import sys

from tests.gpu_on_cpu.building import CannotBuildError, build
from tests.gpu_on_cpu.running import environment


def main(arguments: list[str]) -> int:
    """Build the GPU, then run what is asked for in this process's place."""
    try:
        home = build()
    except CannotBuildError as error:
        print(f"gpu_on_cpu: {error}", file=sys.stderr)  # noqa: T201
        return 1
    match arguments:
        case ["build"]:
            return 0
        case ["run", *command] if command:
            os.execve(sys.executable, [sys.executable, *command], environment(home))
    print(__doc__, file=sys.stderr)  # noqa: T201
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
