"""What every test has: a clean global state, a cache of its own, and fixtures: `device`, `shared`, `torch`, `chromium`.

Where something outside the repository is missing, its tests are skipped with the reason. In CI, where `.ci/run` has
installed it, its absence is a failure: nothing is skipped there that could have run. (A CUDA card is the exception:
`tests/gpu_on_cpu` stands in for one.)
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

os.environ["MPLBACKEND"] = "Agg"  # before anything imports matplotlib: no test opens a window

import numpy as np
import pytest
from hypothesis import settings

import tinygrad_med
from tinygrad_med.core.modes import mode
from tinygrad_med.engine.switches import switch

ROOT = Path(__file__).resolve().parents[1]

# `ci` draws the same few examples every time; `long` (--hypothesis-profile=long, or the environment variable) looks for
# new ones and remembers what it found. No deadline: the first example of an operation pays for its imports and caches.
settings.register_profile("ci", max_examples=50, derandomize=True, deadline=None, print_blob=True)
LONG = int(os.environ.get("TINYGRAD_MED_LONG_EXAMPLES", "10000"))
settings.register_profile("long", max_examples=LONG, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def missing(what: str) -> NoReturn:
    """End a test for want of `what`: skipped at home, failed in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}: CI must have it", pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the real images and the published results, which lies beside the repository."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        missing(f"the real data is not there: no folder {Path('..') / 'shared' / 'data'} beside the repository")
    return folder


@pytest.fixture(scope="session")
def torch() -> ModuleType:
    """PyTorch, the reference."""
    try:
        import torch
    except ImportError:
        missing("PyTorch is not installed: pip install torch")
    assert not hasattr(torch, "primitive"), "this is our own package in PyTorch's place: a test imported as_torch"
    return torch


@pytest.fixture(scope="session")
def cupy() -> ModuleType:
    """CuPy, which can be asked for its names and signatures without a driver or a card."""
    try:
        import cupy
    except ImportError:
        missing("CuPy is not installed: pip install cupy-cuda13x")
    return cupy


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A browser without a window: Debian's packages chromium and chromium-driver, driven by Selenium."""
    try:
        from selenium import webdriver
    except ImportError:
        missing("Selenium is not installed: pip install selenium")
    driver, browser = shutil.which("chromedriver"), shutil.which("chromium")
    if not (driver and browser):
        missing("there is no browser: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield started
    started.quit()


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> str:
    """Each device in turn."""
    return request.param


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cuda") and not tinygrad_med.cuda.is_available():
        pytest.skip("no CUDA card that CuPy can use; see tests/gpu_on_cpu/README.md")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or fills the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYGRAD_MED_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def _open_figures() -> list[int]:
    pyplot = sys.modules.get("matplotlib.pyplot")
    return pyplot.get_fignums() if pyplot else []


FLAGS = ("grad", "definition", "watchers")


def _set_modes(values: tuple[object, ...]) -> None:
    for flag, value in zip(FLAGS, values, strict=True):
        switch(flag, value)


# What a test must leave as it found it: (name, how to read it, how to put it back).
GLOBAL_STATE: list[tuple[str, Callable[[], Any], Callable[[Any], Any]]] = [
    ("NumPy's print options", np.get_printoptions, lambda options: np.set_printoptions(**options)),
    ("NumPy's error handling", np.geterr, lambda handling: np.seterr(**handling)),
    ("the modes", lambda: tuple(getattr(mode, flag) for flag in FLAGS), _set_modes),
    ("the default dtype", tinygrad_med.get_default_dtype, tinygrad_med.set_default_dtype),
    ("the working directory", os.getcwd, os.chdir),
    ("the import path", lambda: list(sys.path), lambda path: sys.path.__setitem__(slice(None), path)),
    ("matplotlib's open figures", _open_figures, lambda _: sys.modules["matplotlib.pyplot"].close("all")),
]


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    """Every test draws the same numbers, whichever tests ran before it."""
    tinygrad_med.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_leaks() -> Iterator[None]:
    """Fail a test that leaves global state changed, and put the state back so that only this test fails."""
    before = [read() for _, read, _ in GLOBAL_STATE]
    yield
    leaked = []
    for (name, read, restore), value in zip(GLOBAL_STATE, before, strict=True):
        if (found := read()) != value:
            restore(value)
            leaked.append(f"{name}: {value!r} became {found!r}")
    if leaked:
        pytest.fail("the test leaks global state: " + "; ".join(leaked), pytrace=False)
