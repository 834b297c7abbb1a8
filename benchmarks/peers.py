"""Other libraries, each in an environment of its own, ready to take their turns beside ours.

`python("autograd")` is the interpreter of an environment with HIPS autograd in it, made at the first call in the user's
cache folder. `Worker(python("autograd"), setup)` keeps a process of it alive and lets it do one turn at a time, so that
peers alternate with what runs in this process.

A contender is a function of a benchmark file, `setup(*args)`, that imports its library, prepares the work and returns
the function that does it once. The worker loads the same file in the other environment; so at its top level a benchmark
imports nothing but the standard library, NumPy, `timing` and `peers`.
"""

from __future__ import annotations

import inspect
import json
import os
import runpy
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import timing


class Peer(NamedTuple):
    """What to install for a peer, and the newest Python on which that runs."""

    requirements: tuple[str, ...]
    newest_python: tuple[int, int] | None = None


PEERS = {
    "autograd": Peer(("autograd==1.9.1", "numpy>=2.0")),
    "micrograd": Peer(("micrograd==0.1.0", "numpy>=2.0")),
    # DeZero reads np.int, which NumPy 1.24 took away; under NumPy 2's promotion it would compute in float64 besides.
    "dezero": Peer(("dezero==0.0.13", "numpy==1.23.5", "matplotlib<3.9"), newest_python=(3, 11)),
}


def python(peer: str) -> Path:
    """The interpreter of the peer's environment, which is made if it is not there or not up to date."""
    requirements = [*PEERS[peer].requirements, "threadpoolctl>=3.5"]
    from tinygrad_med._files import cache_folder  # not at the top: in a peer's environment there is no tinygrad_med

    folder = cache_folder() / "peers" / peer
    interpreter = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = folder / "requirements.txt"  # written last: an environment without it is not complete
    if not stamp.is_file() or stamp.read_text().splitlines() != requirements:
        print(f"peers: making an environment for {peer} in {folder}", file=sys.stderr)
        base = _base_interpreter(peer, PEERS[peer].newest_python)
        subprocess.run([base, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([interpreter, "-m", "pip", "install", "--quiet", *requirements], check=True)
        stamp.write_text("\n".join(requirements) + "\n")
    return interpreter


def _base_interpreter(peer: str, newest: tuple[int, int] | None) -> str:
    """This interpreter; where it is too new for the peer, the newest one that is not."""
    if newest is None or sys.version_info[:2] <= newest:
        return sys.executable
    names = [f"python{newest[0]}.{minor}" for minor in range(newest[1], 9, -1)]
    for name in names:
        if (found := shutil.which(name)) and subprocess.run([found, "-c", ""], check=False).returncode == 0:
            return found
    newest_name = f"Python {newest[0]}.{newest[1]}"
    raise RuntimeError(f"peers: {peer} runs on {newest_name} at most; install one of {', '.join(names)}")


class Worker:
    """A contender in another environment: a process that does one turn when it is told to.

    Args:
        python: its interpreter.
        setup: a function at the top level of a benchmark file, which returns the function to repeat.
        args: of `setup`, as JSON can carry them.

    Raises:
        RuntimeError: when the work fails over there, with that traceback.
    """

    def __init__(self, python: Path | str, setup: Callable[..., Callable[[], object]], *args: Any) -> None:
        self._name = setup.__name__
        job = json.dumps({"file": inspect.getsourcefile(setup), "setup": setup.__name__, "args": args})
        command = [str(python), str(Path(__file__).resolve()), job]
        self.processor = 0.0
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def turn(self, lead_in: float) -> float:
        """As `timing.turn`, over there; the way to and fro is not in the time."""
        self._process.stdin.write(f"{lead_in}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        line = self._process.stdout.readline()
        if not line:
            self.close()
            raise RuntimeError(f"peers: the worker of {self._name} ended with exit status {self._process.returncode}")
        answer = json.loads(line)
        if "error" in answer:
            self.close()
            raise RuntimeError(f"peers: {self._name} failed in its own environment:\n{answer['error']}")
        self.processor = answer["processor"]
        return answer["seconds"]

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()  # to which it answers by ending
        self._process.stdout.close()
        self._process.wait()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _work(file: str, setup: str, args: list[Any]) -> None:
    """The worker's side: set up, then one turn for each line that comes, each answered by a line of JSON."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints goes elsewhere

    def answer(**facts: Any) -> None:
        print(json.dumps({"processor": time.process_time(), **facts}), file=answers)

    try:
        work = runpy.run_path(file)[setup](*args)
        timing.limit_threads()
        answer(seconds=None)
        for lead_in in sys.stdin:
            answer(seconds=timing.turn(work, float(lead_in)))
    except Exception:  # noqa: BLE001 - whatever it is, it is told
        answer(error=traceback.format_exc())


if __name__ == "__main__":
    _work(**json.loads(sys.argv[1]))
