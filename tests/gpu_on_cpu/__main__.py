"""python -m tests.gpu_on_cpu build | check [WORD…] | nvrtc [--all] | run WHAT… (what follows `python`)"""

from __future__ import annotations

import os
import sys

from tests.gpu_on_cpu import nvrtc
from tests.gpu_on_cpu.building import CannotBuildError, build
from tests.gpu_on_cpu.checking import check
from tests.gpu_on_cpu.running import environment


def main(arguments: list[str]) -> int:
    """Build the GPU, then run what is asked for in this process's place."""
    try:
        home = build()
        match arguments:
            case ["build"]:
                return 0
            case ["check", *chosen]:
                return check(home, chosen)
            case ["nvrtc"] | ["nvrtc", "--all"]:
                return nvrtc.check(home, "--all" in arguments)
            case ["run", *command] if command:
                os.execve(sys.executable, [sys.executable, *command], environment(home))
    except CannotBuildError as error:
        print(f"gpu_on_cpu: {error}", file=sys.stderr)  # noqa: T201
        return 1
    print(__doc__, file=sys.stderr)  # noqa: T201
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
