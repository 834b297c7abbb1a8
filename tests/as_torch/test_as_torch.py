"""`import torch` answered by this package: what is here works, what is not says so when it is used.

Each program runs in an interpreter of its own, so that nothing stands in for PyTorch in this one.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIRST = "import tinygrad_med.as_torch\n"


def run(code, *arguments):
    """What a program prints; it must end well."""
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def complaint(code):
    """The last line of the error that a program ends with."""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode, result.stdout
    return result.stderr.strip().splitlines()[-1]


def test_every_name_of_the_table_can_be_imported():
    found = run(
        FIRST + "import importlib, sys\n"
        "from tinygrad_med.as_torch.names import WHERE\n"
        "for name in WHERE:\n"
        "    module = importlib.import_module(name)\n"
        "    assert type(module).__name__ == 'StandIn' and module.__name__ == name\n"
        "print(len(WHERE), any('site-packages/torch' in str(getattr(m, '__file__', '')) for m in sys.modules.values()))"
    )
    count, real = found.split()
    assert int(count) > 40 and real == "False"


def test_the_usual_imports():
    run(
        FIRST
        + """
import torch, torchvision
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch import Tensor, nn as nn2, optim as optim2
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, Dataset, TensorDataset, random_split
from torch.utils.tensorboard import SummaryWriter
from torch.autograd import Function, grad
from torchvision import models, transforms
import torchvision.transforms as T, torchvision.transforms.functional as TF
from fastai.basics import *
from fastai.vision.all import *
from fastai.vision.all import ImageDataLoaders, cnn_learner as learner
import tinygrad_med

assert torch.Tensor is Tensor is tinygrad_med.Tensor and nn is nn2 is torch.nn and optim is optim2
assert nn.Linear is tinygrad_med.nn.Linear and F.relu is tinygrad_med.nn.functional.relu
assert torchvision.models.resnet18 is models.resnet18 is resnet18 and torchvision.transforms is transforms is T
assert torch.utils.data.DataLoader is DataLoader and learner is cnn_learner
assert torch.tensor([1.0]).dtype == torch.float32
torch.backends.cudnn.deterministic = True
torch.backends.cudnn.benchmark = False
device = "mps" if torch.backends.mps.is_available() else "cpu"
assert device == "cpu" and not hasattr(torch, "compile") and not hasattr(torch.nn, "LSTM")
assert {"Linear", "functional"} <= set(dir(nn))
"""
    )


def test_what_is_not_here_can_be_imported():
    programs = [
        "from torch.nn import LSTM",
        "from torch import compile, distributed as dist",
        "import torch.distributed as dist, torchvision.datasets, torchvision.io",
        "from torch.cuda.amp import autocast, GradScaler",
        "from torchvision import datasets, models; from torchvision.datasets import MNIST, ImageFolder as Folder",
        "from fastai.vision.all import DataBlock; from fastai.text.all import *; import fastai.tabular.all",
        "import torch, torch.fft as fft, torch.onnx; assert not isinstance(torch.nn.Linear(1, 1), fft)",
        "import torch; from torch import compile; assert not hasattr(torch, 'compile')",
    ]
    assert run(FIRST + f"for program in {programs}: exec(program, {{}})") == ""


COMPLAINTS = [
    ("from torch.nn import LSTM; LSTM(3, 4)", "torch.nn.LSTM", "there are no recurrent layers; write the loop"),
    ("from torch.nn import LSTM\nclass Mine(LSTM): pass", "torch.nn.LSTM", "there are no recurrent layers"),
    ("from torch.nn import LSTM; LSTM.flatten_parameters", "torch.nn.LSTM", "there are no recurrent layers"),
    ("import torch; torch.nn.LSTM(3, 4)", "torch.nn.LSTM", "there are no recurrent layers"),
    ("import torch; torch.compile(3)", "torch.compile", "there is nothing to compile; leave it out"),
    ("import torch; torch.maximun(3)", "torch.maximun", "did you mean maximum?"),
    ("import torch.distributed as dist; dist.init_process_group()", "torch.distributed", ""),
    ("from torchvision.datasets import MNIST; MNIST('.')", "torchvision.datasets.MNIST", ""),
    ("import torchvision; torchvision.datasets.MNIST('.')", "torchvision.datasets", ""),
    ("from fastai.vision.all import DataBlock; DataBlock[3]", "fastai.vision.all.DataBlock", ""),
]


def test_what_is_not_here_says_so_when_it_is_used():
    programs = [program for program, _, _ in COMPLAINTS]
    printed = run(
        FIRST + f"for program in {programs}:\n"
        "    try: exec(program, {})\n"
        "    except (AttributeError, NotImplementedError) as error: print(error)\n"
        "    else: print('no complaint')"
    ).splitlines()
    for line, (program, name, advice) in zip(printed, COMPLAINTS, strict=True):
        text = f"{name} is not here: tinygrad_med stands in for {name.partition('.')[0]}"
        assert line.startswith(f"{text}; {advice}" if advice else text), program


def test_the_first_lines_of_todays_tutorials():
    """Which device there is, and which version; a line of PyTorch's quickstart that turns bools into numbers."""
    printed = run(
        FIRST + "import torch, torchvision\n"
        "print(torch.__version__ == torchvision.__version__, torch.__version__.endswith('+tinygrad_med'))\n"
        "gpu = torch.accelerator.is_available()\n"
        "print(torch.accelerator.current_accelerator().type == 'cuda' if gpu else 'cpu')\n"
        "print(torch.accelerator.device_count() > 0 if gpu else torch.accelerator.current_accelerator())\n"
        "from torch.autograd import gradcheck\n"
        "assert gradcheck(torch.sin, torch.ones(2, dtype=torch.float64, requires_grad=True))\n"
        "print((torch.ones(2, 3).argmax(1) == torch.tensor([0, 1])).type(torch.float).sum().item())\n"
    ).splitlines()
    assert printed in (["True True", "cpu", "None", "1.0"], ["True True", "True", "True", "1.0"])


def test_it_refuses_beside_the_real_one(tmp_path, torch):
    message = "RuntimeError: as_torch: the real torch is imported already; import tinygrad_med.as_torch before it"
    assert message in complaint("import torch\n" + FIRST)
    assert run(FIRST + FIRST + "import torch\n" + FIRST) == ""  # a cell that is run again


def test_without_it_nothing_stands_in():
    assert run(
        "import sys, tinygrad_med\nprint([n for n in sys.modules if n.split('.')[0] in ('torch', 'fastai')])"
    ) == ("[]\n")


def test_a_program_runs_as_by_python(tmp_path):
    (tmp_path / "helper.py").write_text("import torch\nnumber = torch.ones(2).sum().item()\n")
    (tmp_path / "tutorial.py").write_text(
        "import sys, torch, helper\n"
        "class Mine(torch.nn.Module): pass\n"
        "if __name__ == '__main__':\n"
        "    print(sys.argv[1:], helper.number, Mine.__module__, torch.__name__)\n"
    )
    command = [sys.executable, "-m", "tinygrad_med.as_torch"]
    for arguments, expected in (
        ([tmp_path / "tutorial.py", "--lr", "3"], "['--lr', '3'] 2.0 __main__ torch\n"),
        ([], "usage: python -m tinygrad_med.as_torch tutorial.py [argument …]\n"),
        ([tmp_path / "nothing.py"], f"as_torch: there is no file {tmp_path / 'nothing.py'}\n"),
    ):
        done = subprocess.run([*command, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.stdout + done.stderr == expected and bool(done.returncode) is (len(arguments) < 3)
