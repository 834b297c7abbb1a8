"""Backpropagation by hand: seven pages, from a chain of three numbers to Grad-CAM through a ResNet-18.

    python examples/backprop_by_hand.py            # then open runs/backprop/index.html

Each page replays a computation of this file, forward and backward, with the rule of every step in numbers. It begins
with a question; the answer is hidden until you ask for it, and the page's own numbers prove it. The file is a notebook
as well: Jupyter, VS Code and others run it cell by cell, and show each page below its cell.

`--scans` names the images of Medical MNIST (a folder or a zip) and `--radiographs` the zip of the tutorial; without
them, pages 4 and 7 take the images that were decoded last, or phantoms, which are painted.
"""

# %%
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import tinygrad_med as torch
from tinygrad_med import cam, explain, models
from tinygrad_med._files import writing
from tinygrad_med.data import medical_mnist, radiographs
from tinygrad_med.data.images import open_image
from tinygrad_med.explain.page import contents, render
from tinygrad_med.nn import functional as F

sys.path.append("examples")  # for a notebook, which begins in the folder above
import command

parser = command.parser(__doc__, "runs/backprop", trains=False)
parser.add_argument("--scans", help="Medical MNIST: a folder or a zip")
parser.add_argument("--radiographs", help="the radiographs: a folder or a zip")
options, _ = parser.parse_known_args()  # a notebook has arguments of its own
options.out = options.out or Path("runs/backprop")
command.answer_mistakes(options)
command.begin(options)
torch.manual_seed(options.seed)

PAGES = ["chain", "fork", "broadcast", "classifier", "convolution", "batch_norm", "grad_cam"]
questions = {}


def show(trace, title, question, answer):
    """Write the next page of the course, and the index with all so far; a notebook shows the trace that comes back."""
    number = len(questions)
    name, neighbours = PAGES[number], [("index.html", "All pages")]
    neighbours += [
        (f"{PAGES[i]}.html", word) for i, word in ((number - 1, "← Before"), (number + 1, "Next →")) if 0 <= i < 7
    ]
    trace.title = title = f"{number + 1}. {title}"
    with writing(options.out / f"{name}.html") as path:
        path.write_text(render(trace.to_dict(), question=question, answer=answer, links=neighbours), "utf-8")
    questions[name] = (f"{name}.html", title, question)
    with writing(options.out / "index.html") as path:
        path.write_text(contents("Backpropagation by hand", __doc__.split("\n\n")[2], questions.values()), "utf-8")
    return trace


def step_back(trace, name):
    """A link to the step at which the gradient of the tensor of that name is complete."""
    walk = trace.walks[0]
    step = next(step for step in walk.steps if trace.tensors[step.tensor].name == name)
    return f"[step {len(trace.nodes) + step.id + 1}](#step={len(trace.nodes) + step.id + 1})"


def table(*columns):
    """Columns of numbers and names, each with its heading first."""
    return "\n".join(
        "| " + " | ".join(f"{x:.4g}" if isinstance(x, float) else str(x) for x in row) + " |"
        for row in zip(*columns, strict=True)
    )


# %% 1. A chain
x = torch.tensor(2.0, requires_grad=True)

with explain.watch() as trace:
    u = 3 * x
    v = u + 1
    z = v**2
    z.backward()

moved = (3 * 2.001 + 1) ** 2  # by hand, with x a little larger

show(
    trace,
    "A chain",
    "Here `x = 2`, and `z = (3x + 1)² = 49`. If x grows by 0.001, by how much does z grow? Guess before you step: each "
    "operation knows only its own derivative. What must be done with the three of them?",
    f"They are multiplied. Squaring passes back `2v = 14`, adding 1 passes on `1`, and the product with 3 passes on "
    f"`3`: 14 × 1 × 3 = {x.grad.item():g}, complete at {step_back(trace, 'x')}. Choose the number of x there: the page "
    f"lists that one path.\n\nSo z should grow by 0.001 × {x.grad.item():g} = 0.042. By hand, (3 · 2.001 + 1)² = "
    f"{moved:.6f}: it grows by {moved - 49:.6f}. The rest is the curve of the "
    "square, which no derivative sees.",
)

# %% 2. A fork: two contributions meet
x = torch.tensor(3.0, requires_grad=True)

with explain.watch() as trace:
    a = 2 * x
    loss = a * a + a
    loss.backward()

show(
    trace,
    "A fork",
    "`a = 6` is used three times: twice as a factor, and once as a summand, in `loss = a·a + a = 42`. Three "
    "contributions come back to it: 6, 6 and 1. Which of them is its gradient: the largest, the mean, the sum?",
    f"The sum. If a grows by a little, the loss grows by way of each use, and these growths add up: 6 + 6 + 1 = 13, at "
    f"{step_back(trace, 'a')}. The product counts twice, since a is both of its factors, which is why (a²)′ = 2a. Then "
    f"`a = 2x` doubles it: ∂loss/∂x = {x.grad.item():g}. Choose x on its page: three "
    "paths, 12 + 12 + 2.",
)

# %% 3. A broadcast
points = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
shift = torch.tensor([0.5, -1.0], requires_grad=True)

with explain.watch() as trace:
    moved = points + shift
    loss = (moved * moved).sum()
    loss.backward()

show(
    trace,
    "A broadcast",
    "`points` has 3 rows of 2 numbers, `shift` only 2 numbers, and yet they are added: shift is repeated for each row. "
    "The upstream gradient has 3 × 2 numbers. How do they become the 2 numbers of the gradient of shift?",
    "Each copy of shift is used once, and gets one row of the upstream gradient. But the copies are one and the same: "
    "it is a fork with three ways, so the rows are added.\n\n"
    + table(
        ["row", 0, 1, 2, "sum"],
        *(
            [f"column {j}", *column, sum(column)]
            for j, column in enumerate((2 * (points + shift.detach())).numpy().T.tolist())
        ),
    )
    + f"\n\nThat is what {step_back(trace, 'shift')} holds. A repetition forward is a sum backward; and at the sum at "
    "the end you see the opposite: a sum forward is a repetition backward.",
)

# %% 4. A linear softmax classifier on one scan
scans = medical_mnist.load(options.scans, check_counts=False, download=False, phantoms_per_class=1)
label = scans.classes.index("HeadCT")
scan = torch.tensor(scans.images[list(scans.labels).index(label)] / 255, dtype=torch.float32)  # (64, 64)
weights = (0.002 * torch.randn(len(scans.classes), 64, 64)).requires_grad_()
bias = torch.zeros(len(scans.classes), requires_grad=True)

with explain.watch() as trace:
    scores = torch.einsum("kij,ij->k", weights, scan) + bias
    log_p = torch.log_softmax(scores, dim=0)
    loss = -log_p[label]
    loss.backward()

probabilities = log_p.exp().tolist()
one_hot = [float(k == label) for k in range(len(scans.classes))]

show(
    trace,
    "A softmax classifier on one scan",
    f"One scan{' (a phantom, painted)' if scans.is_phantom else ''}, a HeadCT, and one weight per pixel and class give "
    f"six scores; softmax makes probabilities of them, and the loss is −log of the right one. Nothing has been learned "
    f"yet. Which number goes back into each of the six scores? It is the simplest that it could be.",
    "Softmax minus one-hot: the probability that the class got, minus the one that it should have got.\n\n"
    + table(
        ["class", *scans.classes],
        ["softmax", *probabilities],
        ["one-hot", *one_hot],
        ["softmax − one-hot", *(p - y for p, y in zip(probabilities, one_hot, strict=True))],
        ["∂loss/∂bias", *bias.grad.tolist()],
    )
    + f"\n\nThe last column is what {step_back(trace, 'bias')} holds. The weights get the same six numbers, each times "
    f"the scan: look at their gradient at {step_back(trace, 'weights')}, it is the scan itself, in each class "
    "lighter or darker. A step against it adds the scan to the template of the right class, and takes it from the "
    "others.",
)

# %% 5. A convolution
image = torch.tensor(np.outer([1, 2, 3, 2, 1], [0, 1, 2, 1, 0])[None, None], dtype=torch.float32).requires_grad_()
edge = torch.tensor(
    [[[[1.0, 0, -1], [2, 0, -2], [1, 0, -1]]]], requires_grad=True
)  # Sobel: where is it lighter on the left?

with explain.watch() as trace:
    z = F.conv2d(image, edge)
    loss = (z * z).sum() / 2  # so that the upstream gradient of z is z itself
    loss.backward()

by_hand = F.conv2d(image.detach(), z.detach())

show(
    trace,
    "A convolution",
    "A 3 × 3 kernel slides over a 5 × 5 image and gives 3 × 3 numbers. Each weight of the kernel is used at all nine "
    "places. Add up, for one weight, what it was multiplied with, times the upstream gradient there: which operation "
    "is this sum?",
    "A convolution again: of the image with the upstream gradient as its kernel. Weight (i, j) was multiplied with the "
    "pixels of the window that begins at (i, j), so its gradient is Σ pixel · upstream over that window.\n\n"
    + table(*([f"column {j}", *column] for j, column in enumerate(by_hand.numpy()[0, 0].T.tolist())))
    + f"\n\nThese nine numbers are `conv2d(image, upstream)`, computed by itself; {step_back(trace, 'edge')} has the "
    f"same. And the gradient of the image, at {step_back(trace, 'image')}, is a convolution of the upstream gradient "
    "with the kernel turned around: choose one pixel, and see which of the outputs it went into.",
)

# %% 6. Batch normalization
x = torch.tensor([[1.0], [2.0], [4.0], [9.0]], requires_grad=True)  # a batch of four, one channel
scale, offset = torch.ones(1, requires_grad=True), torch.zeros(1, requires_grad=True)

with explain.watch() as trace:
    z = F.batch_norm(x, None, None, scale, offset, training=True)
    loss = (z**3).sum()
    loss.backward()

gradient, normal = x.grad.flatten().tolist(), z.detach().flatten().tolist()

show(
    trace,
    "Batch normalization",
    "Batch normalization takes the mean of a channel away and divides by its standard deviation. So if all four x grow "
    "by the same amount, nothing changes; nor if all are stretched away from their mean. What does that say about the "
    "four numbers of the gradient of x, whatever the loss?",
    "Two things. They add up to 0, for a common growth changes nothing; and multiplied with the normalized numbers "
    "they add up to 0 as well, for stretching changes nothing.\n\n"
    + table(
        ["element", 0, 1, 2, 3, "sum"],
        ["gradient", *gradient, sum(gradient)],
        ["normalized", *normal, sum(normal)],
        [
            "gradient × normalized",
            *(g * n for g, n in zip(gradient, normal, strict=True)),
            sum(g * n for g, n in zip(gradient, normal, strict=True)),
        ],
    )
    + "\n\n(Rounding leaves a little, and so does the ε beside the variance.) This is what the two subtractions in the "
    f"rule do, at {step_back(trace, 'z')}: one takes the mean of the upstream gradient away, the other what points "
    "along the normalized numbers. Choose one x: every output hangs on it, for it is in the mean of all.",
)

# %% 7. Grad-CAM through a ResNet-18, on a radiograph
if options.radiographs:
    film = open_image(sorted((radiographs.load(options.radiographs) / "val" / "chest").iterdir())[0])
    of_what = "a chest radiograph"
else:
    film = Image.fromarray(scans.images[list(scans.labels).index(scans.classes.index("CXR"))])
    of_what = f"a chest radiograph{' (a phantom, painted)' if scans.is_phantom else ''}"
pixels = np.asarray(film.convert("L").resize((224, 224)), np.float32)
pixels = np.broadcast_to((pixels - pixels.mean()) / pixels.std(), (1, 3, 224, 224))
radiograph = torch.tensor(pixels.copy())
model = models.resnet18(num_classes=2).eval().fused()  # each normalization is part of its convolution

with explain.watch() as trace:
    features = model.maxpool(model.relu(model.bn1(model.conv1(radiograph))))
    activation = model.layer4(model.layer3(model.layer2(model.layer1(features))))
    scores = model.fc(model.avgpool(activation).flatten(1))
    (gradient,) = torch.grad(scores[0, 1], activation, retain_graph=True)
    importance = gradient.mean(dim=(2, 3), keepdim=True)  # one number per channel
    heat = torch.relu((importance * activation.detach()).sum(1))  # Grad-CAM
    loss = F.cross_entropy(scores, torch.tensor([1]))
    loss.backward()

reference = cam.grad_cam(model, radiograph, 1).raw
difference = np.abs(reference - (importance * activation.detach()).sum(1).numpy()[0]).max()

show(
    trace,
    "Grad-CAM through a ResNet-18",
    f"A ResNet-18 (with random weights: nothing was learned) looks at {of_what}. Grad-CAM asks which places spoke for "
    "class 1. It needs one gradient: that of the score with respect to the last activation, 512 channels of 7 × 7 "
    "places. How far back must the walk go for it, and how many numbers of it are different?",
    "Only through `fc` and `avgpool`: the first walk has a handful of steps, where `backward()`, the second one, goes "
    "down to the pixels. And as the score depends on the *mean* of each channel, all 49 places of a channel get the "
    "same gradient, the weight of `fc` over 49. So there are 512 different numbers, and Grad-CAM is the older CAM "
    "here.\n\n"
    f"`heat` is relu of the sum of the activations, each channel times its number: at most {difference:.1e} from what "
    "`cam.grad_cam` says. Look at the gradients of all layers in the view “Gradients”, and open `layer1` to see the "
    "shortcuts: each addition hands its upstream gradient on, unchanged, to both sides.",
)

# %%
if __name__ == "__main__":
    print(f"open {options.out / 'index.html'}")
