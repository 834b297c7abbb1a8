"""Copies what `results/` holds into the pages: all tables into `benchmarks/README.md`, the claims into `README.md`.

    python benchmarks/readme.py          # write
    python benchmarks/readme.py --check  # only say whether both are up to date

In a page, `<!-- results/NAME.md -->` begins a place for the tables of `results/NAME.md`, `<!-- claims -->` one for the
table of `CLAIMS`; `<!-- end -->` ends it. A claim's number, bar and verdict are read from the result's file: nothing is
written by hand.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "benchmarks/README.md")
PLACE = re.compile(r"(<!-- (claims|results/[\w.-]+\.md) -->\n).*?(<!-- end -->)", re.DOTALL)


# ---------------------------------------------------------------- what a result's file says


class Found(NamedTuple):
    """A number, what it should be, and whether it is."""

    number: str
    bar: str
    verdict: str


def rows(markdown: str) -> list[dict[str, str]]:
    """The rows of the first table, by the names of its columns."""
    first = tables(markdown).partition("\n\n")[0]
    head, _, *body = ([cell.strip() for cell in line.strip("|").split("|")] for line in first.strip().split("\n"))
    return [dict(zip(head, row, strict=True)) for row in body]


def verdict(kept: bool) -> str:
    """As the results say it."""
    return "as asked" if kept else "MISSED"


def listed(label: str) -> Callable[[str], Found]:
    """A line such as `- label: ours takes 0.83 of PyTorch's time, at most 0.95: as asked`."""

    def find(markdown: str) -> Found:
        pattern = rf"^- {re.escape(label)}: (?:ours takes )?([\d.]+)[^,]*, (at \w+ [\d.]+): (as asked|MISSED)$"
        match = re.search(pattern, markdown, re.MULTILINE)
        if not match:
            raise SystemExit(f"no line {label!r} with a number and a bar")
        return Found(match[1], match[2], match[3])

    return find


def published_loss(markdown: str) -> Found:
    """The largest deviation of any run, where there is a published loss."""
    deviations = [row["loss off by at most"] for row in rows(markdown)]
    worst = max(float(cell.rstrip("%")) for cell in deviations if cell.endswith("%"))
    return Found(f"{worst:.2f}% off", "at most 1%", verdict(worst <= 1))


def published_accuracy(markdown: str) -> Found:
    """How many runs end within a point."""
    kept = [row[""] == "as asked" for row in rows(markdown)]
    return Found(f"{sum(kept)} of {len(kept)} runs", "all", verdict(all(kept)))


def fine_tuned(weights: str) -> Callable[[str], Found]:
    """How many runs from these weights end with all validation films right."""

    def find(markdown: str) -> Found:
        ends = [row["accuracy after epoch 0 … 4"].split()[-1] for row in rows(markdown) if row["weights"] == weights]
        kept = ends.count("1.0")
        return Found(f"{kept} of {len(ends)} runs", "all", verdict(kept == len(ends)))

    return find


def mutants(markdown: str) -> Found:
    """How many were caught."""
    match = re.search(r"Of (\d+) mutants of \d+ primitives it caught (\d+)", markdown)
    return Found(f"{match[2]} of {match[1]}", "all", verdict(match[1] == match[2]))


def alarms(markdown: str) -> Found:
    """Of how many operations a right derivative was called wrong, and of how many examples each."""
    judged = [row for row in rows(markdown) if row["check"] == "`gradcheck`"]
    alarms, operations = (sum(int(row[kind]) for row in judged) for kind in ("with a false alarm", "operations"))
    examples = ", ".join(f"{row['operations']} by {row['examples of each operation']} examples" for row in judged)
    return Found(f"{alarms} of {operations} operations ({examples})", "none", verdict(not alarms))


def float32(markdown: str) -> Found:
    """How many of the bars are kept, for two networks and two kernels."""
    kept = re.findall(r"^- .*: (as asked|MISSED)$", markdown, re.MULTILINE)
    return Found(f"{kept.count('as asked')} of {len(kept)} bars", "all", verdict("MISSED" not in kept))


LONG = 100_000  # mutants of each reader


def damaged(markdown: str) -> Found:
    """How many mutants of files were not answered as they should be."""
    *readers, total = rows(markdown)
    fewest = min(int(row["mutants"].replace(",", "")) for row in readers)
    number = f"{total['failed']} of {total['mutants']}"
    return Found(number, f"none of {LONG:,} each", verdict(total["failed"] == "0" and fewest >= LONG))


def kills(markdown: str) -> Found:
    """How many files had other bytes at the end of a training that was killed again and again."""
    found = rows(markdown)
    files, different, killed = (sum(int(row[name]) for row in found) for name in ("compared", "different", "kills"))
    kept = different == 0 and len(found) == 4 and min(int(row["kills"]) for row in found) >= 30
    return Found(f"{different} of {files} files, {killed} kills", "none, 30 of each of 4", verdict(kept))


class Claim(NamedTuple):
    """A sentence of the README's, and where its number is from."""

    what: str
    result: str  # a file of results/
    find: Callable[[str], Found]
    script: str = ""  # which wrote it, if its name is another

    def row(self) -> str:
        """Of the table."""
        found = self.find((ROOT / "benchmarks" / "results" / f"{self.result}.md").read_text("utf-8"))
        shown = f"**{found.verdict}**" if found.verdict == "MISSED" else found.verdict
        script = f"benchmarks/{self.script or self.result}.py"
        return f"| {self.what} | {found.number} | {found.bar} | {shown} | [`{Path(script).name}`]({script}) |"


PLAIN = "Medical MNIST, ours"  # the weights that fine-tuning starts from

CLAIMS = [
    Claim("Medical MNIST: the loss of every epoch, beside the published", "published_medical_mnist", published_loss),
    Claim("… accuracy within a point of the published", "published_medical_mnist", published_accuracy),
    Claim(
        "Radiographs: fine-tuning ends at the published 100%", "radiographs", fine_tuned(PLAIN), "radiographs_published"
    ),
    Claim("MRNet on phantoms: mean AUC", "mrnet_phantoms", listed("mean AUC")),
    Claim(
        "ResNet-18, a training step ÷ PyTorch's", "networks", listed("ResNet-18, training step, 16 images of 224×224")
    ),
    Claim("… prediction of one image ÷ PyTorch's", "networks", listed("ResNet-18, prediction, 1 image")),
    Claim("The tutorial's loop ÷ PyTorch's", "training_loop", listed("the tutorial's loop, 64×4096 → 10, 8 steps")),
    Claim("… of a net with 128 hidden units", "training_loop", listed("the net, 64×4096 → 128 → 6, 8 steps")),
    Claim(
        "1,000 scalar operations ÷ PyTorch's", "scalar_graph", listed("1,000 scalar operations, forward and backward")
    ),
    Claim("Rounding in float32, beside PyTorch's", "float32_error", float32),
    Claim("Gradient tester: wrong derivatives caught", "gradient_mutants", mutants),
    Claim("… false alarms of `gradcheck`", "gradcheck_long_run", alarms),
    Claim("Damaged files that are not refused by name, or read", "fuzz_readers", damaged),
    Claim("Examples killed and resumed: files that end otherwise", "kills", kills),
]


def on_a_card() -> str:
    """The row of `gpu.py`, whose result is there when it has run on a card."""
    file, work, bar = ROOT / "benchmarks" / "results" / "gpu.json", ("ResNet-18 training, 64", "TF32"), 1.2
    found = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    ratios = [step["ratio"] for step in found.get("steps", []) if (step["work"], step["precision"]) == work]
    what = f"On a GPU{', ' + found['card'] if found else ''}: a ResNet-18 step in TF32 ÷ PyTorch's"
    number, shown = "not run, no card was at hand", "–"
    if ratios:
        kept = ratios[0] <= bar
        number, shown = f"{ratios[0]:.2f}", verdict(kept) if kept else f"**{verdict(kept)}**"
    return f"| {what} | {number} | {'at most ' if ratios else ''}{bar} | {shown} | [`gpu.py`](benchmarks/gpu.py) |\n"


# ---------------------------------------------------------------- the pages


def claims() -> str:
    """The table of claims."""
    head = "| what | measured | bar | | script |\n|---|--:|--:|---|---|\n"
    return head + "".join(f"{claim.row()}\n" for claim in CLAIMS) + on_a_card()


def tables(markdown: str) -> str:
    """The tables of a results file, each line as it stands there."""
    blocks = re.findall(r"(?:^\|.*\n)+", markdown + "\n", re.MULTILINE)
    return "\n".join(blocks)


def filled(page: str, name: str) -> str:
    """The page's text with every place filled."""

    def fill(place: re.Match[str]) -> str:
        if place[2] == "claims":
            return f"{place[1]}\n{claims()}\n{place[3]}"
        source = ROOT / "benchmarks" / place[2]
        if not source.is_file():
            raise SystemExit(f"{name} names benchmarks/{place[2]}, which is not there; run the script that writes it")
        return f"{place[1]}\n{tables(source.read_text('utf-8'))}\n{place[3]}"

    return PLACE.sub(fill, page)


def main() -> int:
    """Write the pages, or check them; 1 if one was out of date and only checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if a table is out of date")
    check = parser.parse_args().check
    stale = False
    for name in PAGES:
        path = ROOT / name
        before = path.read_text("utf-8")
        after = filled(before, name)
        stale |= before != after
        if not check and before != after:
            temporary = path.with_suffix(".tmp")
            temporary.write_text(after, "utf-8")
            temporary.replace(path)
    return int(stale and check)


if __name__ == "__main__":
    sys.exit(main())
