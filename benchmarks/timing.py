"""Fair timing: the contenders take turns in one run, two threads each, and a ratio compares neighbours in time.

A machine's speed drifts by tens of percent within minutes, so two runs cannot be compared; two turns of one round can.
`alternate` gives each contender one turn a round, in rotating order, and a ratio is the median over the rounds of one
turn's time over another's in the same round.

A turn begins with a lead-in: the work runs untimed for 0.1 s, then once more, timed. Without it the first repetitions
meet the other libraries' threads, which spin on for some 50 ms after their last work (on two cores PyTorch's 0.4 ms for
a chain of elementwise operations then measured as 5 ms), and threads that rested are slow to wake up again. So what is
measured is the steady loop, which is what training is.

Knows nothing of what is timed.
"""

from __future__ import annotations

import csv
import math
import os
import platform
import resource
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Protocol

import threadpoolctl

THREADS = 2
RESULTS = Path(__file__).parent / "results"


class Elsewhere(Protocol):
    """A contender in another process (`peers.Worker`)."""

    processor: float
    """The processor time, in seconds, that its process has had up to its last turn."""

    def turn(self, lead_in: float) -> float:
        """As the function `turn`."""


Contender = Callable[[], object] | Elsewhere

Bar = tuple[str, str, float]
"""(who, over whom, the ratio that it should not exceed)"""


def turn(work: Callable[[], object], lead_in: float) -> float:
    """Repeat `work` untimed for `lead_in` seconds (once at least), then once more; the seconds of that repetition."""
    lead_in_ends = perf_counter() + lead_in
    work()
    while perf_counter() < lead_in_ends:
        work()
    start = perf_counter()
    work()
    return perf_counter() - start


def limit_threads() -> None:
    """Give every library that is loaded by now `THREADS` threads."""
    threadpoolctl.threadpool_limits(THREADS)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(THREADS)


@dataclass(frozen=True)
class Comparison:
    """One piece of work, done by several contenders in turns."""

    work: str
    seconds: dict[str, list[float]]
    """By contender, one number a round."""
    bars: tuple[Bar, ...]
    others: float
    """How many cores other processes kept busy meanwhile; NaN where the system doesn't say."""

    def median(self, who: str) -> float:
        """Seconds of one repetition."""
        return statistics.median(self.seconds[who])

    def quartiles(self, who: str) -> tuple[float, float]:
        """The bounds, in seconds, of the middle half of the repetitions."""
        low, _, high = statistics.quantiles(self.seconds[who], n=4)
        return low, high

    def ratio(self, who: str, over: str) -> float:
        """The median over the rounds of `who`'s time over `over`'s."""
        return statistics.median(a / b for a, b in zip(self.seconds[who], self.seconds[over], strict=True))


def alternate(
    work: str,
    contenders: Mapping[str, Contender],
    *,
    rounds: int = 30,
    lead_in: float = 0.1,
    bar: Bar | Sequence[Bar] = (),
) -> Comparison:
    """Time contenders in turns.

    Args:
        work: what they do, as it will stand in the table.
        contenders: by name, a function that does one repetition, or a `peers.Worker`.
        rounds: how many turns each contender has; at least 2.
        lead_in: seconds of untimed work at the start of a turn.
        bar: (who, over whom, ratio): what the comparison should show; or several such.
    """
    limit_threads()
    names = list(contenders)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    elsewhere = [contender for contender in contenders.values() if not callable(contender)]

    def processor_times() -> tuple[float, float]:
        return process_time() + sum(contender.processor for contender in elsewhere), _busy_seconds()

    start = perf_counter()
    own, all_processes = processor_times()
    for i in range(rounds):
        first = i % len(names)
        for name in names[first:] + names[:first]:
            contender = contenders[name]
            seconds[name].append(turn(contender, lead_in) if callable(contender) else contender.turn(lead_in))
    own_after, all_after = processor_times()
    others = (all_after - all_processes) - (own_after - own)
    bars = (bar,) if bar and isinstance(bar[0], str) else tuple(bar)
    return Comparison(work, seconds, bars, max(0.0, others / (perf_counter() - start)))


def _busy_seconds() -> float:
    """The processor time that all processes together have had so far; NaN where the system doesn't say."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return math.nan
    user, nice, system, _idle, _waiting, interrupts, soft_interrupts, stolen = map(int, fields[:8])
    return (user + nice + system + interrupts + soft_interrupts + stolen) / os.sysconf("SC_CLK_TCK")


def own_peak() -> int:
    """The largest memory of this process so far, in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux hands ru_maxrss down to child processes, VmHWM begins anew
        (kilobytes,) = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(kilobytes) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def forget_peak() -> None:
    """Let `own_peak` begin anew, where the system can (Linux): what was needed to prepare the work is not counted."""
    switch = Path("/proc/self/clear_refs")
    if switch.exists():
        switch.write_text("5")


# ---------------------------------------------------------------- reports


def machine() -> str:
    """The machine and the libraries, in one line."""
    import numpy as np

    libraries = [p for p in threadpoolctl.threadpool_info() if p["user_api"] == "blas"]
    blas = {f"{p['internal_api']} {p['version']}, its kernels for {p['architecture']}" for p in libraries}
    facts = [
        f"{_processor()}, {os.cpu_count()} cores",
        f"{platform.system()} {platform.machine()}",
        f"Python {platform.python_version()}",
        f"NumPy {np.__version__} ({', '.join(sorted(blas)) or 'unknown BLAS'})",
        *([f"PyTorch {torch.__version__}"] if (torch := sys.modules.get("torch")) else []),
        f"{THREADS} threads",
    ]
    return "; ".join(facts)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = facts.get("model name") or platform.processor() or "unknown processor"
    model = f" (family {facts['cpu family']}, model {facts['model']})" if "cpu family" in facts else ""
    return f"{name}{model}"


def report(name: str, question: str, comparisons: Sequence[Comparison], *, over: str) -> str:
    """Print the comparisons as a table, and write it to `results/<name>.md` and the single times to `<name>.csv`.

    Args:
        name: of the two files.
        question: what the benchmark asks; the heading.
        comparisons: the answers, one group of rows each.
        over: the contender whose time is the unit of the ratios.

    Returns:
        The table, in Markdown.
    """
    lines = [
        f"# {question}",
        "",
        f"{machine()}.",
        f"Times of one repetition; ratios are medians over the rounds, over {over}.",
        "",
        f"| work | who | median | middle half | ÷ {over} |",
        "|---|---|--:|--:|--:|",
    ]
    for c in comparisons:
        for who in c.seconds:
            low, high = c.quartiles(who)
            ratio = f"{c.ratio(who, over):.2f}" if over in c.seconds else ""
            lines.append(f"| {c.work} | {who} | {_time(c.median(who))} | {_time(low)} – {_time(high)} | {ratio} |")
    lines += ["", *(_verdict(c, bar) for c in comparisons for bar in c.bars)]
    return write(name, lines, comparisons)


def write(name: str, lines: Sequence[str], comparisons: Sequence[Comparison]) -> str:
    """Print the lines, and write them to `results/<name>.md` and the single times of the comparisons to `<name>.csv`.

    Below the lines it says which comparisons were disturbed by other processes.
    """
    from tinygrad_med._files import writing  # not at the top: in a peer's environment there is no tinygrad_med

    disturbed = [
        f"- {c.work}: disturbed, other processes kept {c.others:.1f} cores busy; measure again"
        for c in comparisons
        if c.others > 0.1
    ]
    table = "\n".join([*lines, *disturbed]).rstrip() + "\n"
    print(table)

    rows = [(c.work, who, i, t) for c in comparisons for who, times in c.seconds.items() for i, t in enumerate(times)]
    RESULTS.mkdir(exist_ok=True)
    with writing(RESULTS / f"{name}.md") as path:
        path.write_text(table, "utf-8")
    with writing(RESULTS / f"{name}.csv") as path, path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("work", "who", "round", "seconds"), *rows])
    return table


def earlier(name: str) -> dict[str, dict[str, list[float]]]:
    """The single times of `results/<name>.csv`: {work: {who: seconds, one a round}}."""
    found: dict[str, dict[str, list[float]]] = {}
    with (RESULTS / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["work"], {}).setdefault(row["who"], []).append(float(row["seconds"]))
    return found


def _verdict(c: Comparison, bar: Bar) -> str:
    who, over, limit = bar
    ratio = c.ratio(who, over)
    outcome = "as asked" if ratio <= limit else "MISSED"
    digits = 2 if (round(ratio, 2) <= limit) == (ratio <= limit) else 4  # a bar missed by a hair shows the hair
    return f"- {c.work}: {who} takes {ratio:.{digits}f} of {over}'s time, at most {limit}: {outcome}"


def _time(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e3)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"
