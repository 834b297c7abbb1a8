"""What does training cost, in the tutorial's loop and in that of a small net?

The loop of examples/medical_mnist.py over eight batches of 64 images, which are in memory as floats: predictions,
loss, `backward()`, and weights that step against their gradients. The linear model has 4096×10 weights and the
tutorial's log-softmax; the net has 128 hidden units. Every library computes the same weights, which is checked first.
"NumPy by hand" is what is left when the gradients are written out: the floor under all that compute with NumPy.
"""

import importlib

import numpy as np
from peers import Worker, python
from timing import alternate, report

BATCHES, SIZE, PIXELS, HIDDEN, CLASSES = 8, 64, 64 * 64, 128, 6
OUTPUTS = 10  # of the tutorial's model
LR = {"linear": 0.5, "mlp": 0.02}


# ---------------------------------------------------------------- the same numbers for all


def batches(model):
    """Random images (64, 4096) and labels (64,), eight times."""
    rng = np.random.default_rng(0)
    pixels = rng.random((BATCHES, SIZE, PIXELS), np.float32) / (255 if model == "linear" else 1)
    return list(zip(pixels, rng.integers(0, CLASSES, (BATCHES, SIZE)), strict=True))


def parameters(model):
    """Weights (in, out) and biases (out,), layer by layer."""
    if model == "linear":
        return [np.zeros((PIXELS, OUTPUTS), np.float32), np.zeros(OUTPUTS, np.float32)]
    rng = np.random.default_rng(1)
    shapes = ((PIXELS, HIDDEN), (1, HIDDEN), (HIDDEN, CLASSES), (1, CLASSES))
    return [(rng.random(shape, np.float32) - 0.5).reshape(shape[shape[0] == 1 :]) / 32 for shape in shapes]


def checked(model, work, found):
    """`work`, after its first repetition was found to give the right weights."""
    expected = parameters(model)
    by_hand(model, expected)()
    work()
    for p, q in zip(found(), expected, strict=True):
        np.testing.assert_allclose(np.asarray(p), q, rtol=1e-3, atol=1e-4 * np.abs(q).max())
    return work


def by_hand(model, p):
    """NumPy alone, on the parameters `p`."""
    data, lr = batches(model), LR[model]

    def work():
        for x, y in data:
            h = x if model == "linear" else np.maximum(x @ p[0] + p[1], 0)
            g = h @ p[-2] + p[-1]
            np.exp(g, out=g)
            g /= g.sum(1, keepdims=True)
            g[np.arange(SIZE), y] -= 1
            g /= SIZE
            gradients = [h.T @ g, g.sum(0)]
            if model == "mlp":
                g = (g @ p[2].T) * (h > 0)
                gradients = [x.T @ g, g.sum(0), *gradients]
            for weights, gradient in zip(p, gradients, strict=True):
                gradient *= lr
                weights -= gradient

    return work


def numpy(model):
    """The gradients written out."""
    p = parameters(model)
    return checked(model, by_hand(model, p), lambda: p)


# ---------------------------------------------------------------- with PyTorch's names


def ours(model):
    """tinygrad_med."""
    return _torch_way("tinygrad_med", model)


def pytorch(model):
    """PyTorch, eager."""
    return _torch_way("torch", model)


def _torch_way(library, model):
    torch, nn = importlib.import_module(library), importlib.import_module(f"{library}.nn")
    data, lr = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in batches(model)], LR[model]
    if model == "linear":
        weights, bias = (torch.from_numpy(p).requires_grad_() for p in parameters(model))
        trained = [weights, bias]

        def log_softmax(x):
            return x - x.exp().sum(-1).log().unsqueeze(-1)

        def predict(x):
            return log_softmax(x @ weights + bias)

    else:
        predict = nn.Sequential(nn.Linear(PIXELS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES), nn.LogSoftmax(dim=-1))
        trained = list(predict.parameters())
        with torch.no_grad():
            for parameter, p in zip(trained, parameters(model), strict=True):
                parameter.copy_(torch.from_numpy(np.ascontiguousarray(p.T)))  # nn.Linear has (out, in)

    def loss_func(preds, targets):
        return -preds[range(targets.shape[0]), targets].mean()

    def work():
        for xb, yb in data:
            preds = predict(xb)
            loss = loss_func(preds, yb)

            loss.backward()
            with torch.no_grad():
                for parameter in trained:
                    parameter -= parameter.grad * lr
                    parameter.grad.zero_()

    def found():
        arrays = [parameter.detach().numpy() for parameter in trained]
        return arrays if model == "linear" else [array.T for array in arrays]

    return checked(model, work, found)


# ---------------------------------------------------------------- in environments of their own


def autograd(model):
    """HIPS autograd."""
    import autograd.numpy as anp
    from autograd import grad

    data, lr, p = batches(model), LR[model], parameters(model)

    def loss(p, x, y):
        h = x if model == "linear" else anp.maximum(anp.dot(x, p[0]) + p[1], 0)
        x = anp.dot(h, p[-2]) + p[-1]
        preds = x - anp.log(anp.sum(anp.exp(x), axis=-1, keepdims=True))
        return -anp.mean(preds[np.arange(SIZE), y])

    gradient = grad(loss)

    def work():
        for x, y in data:
            for weights, g in zip(p, gradient(p, x, y), strict=True):
                weights -= g * np.float32(lr)

    return checked(model, work, lambda: p)


def dezero(model):
    """DeZero."""
    import dezero
    from dezero import functions as F

    data, lr = batches(model), LR[model]
    p = [dezero.Parameter(array) for array in parameters(model)]

    def loss_func(x, y):
        h = x if model == "linear" else F.relu(F.linear(x, p[0], p[1]))
        x = F.linear(h, p[-2], p[-1])
        preds = x - F.log(F.sum(F.exp(x), axis=-1, keepdims=True))
        return -F.sum(F.get_item(preds, (np.arange(SIZE), y))) / SIZE

    def work():
        for x, y in data:
            loss_func(x, y).backward()
            for weights in p:
                weights.data -= weights.grad.data * np.float32(lr)
                weights.cleargrad()

    return checked(model, work, lambda: [weights.data for weights in p])


if __name__ == "__main__":
    comparisons = []
    for model, what, bar in (
        ("linear", f"the tutorial's loop, 64×4096 → {OUTPUTS}", 0.55),
        ("mlp", f"the net, 64×4096 → {HIDDEN} → {CLASSES}", 0.65),
    ):
        with Worker(python("autograd"), autograd, model) as hips, Worker(python("dezero"), dezero, model) as zero:
            contenders = {
                "ours": ours(model),
                "PyTorch": pytorch(model),
                "NumPy by hand": numpy(model),
                "HIPS autograd": hips,
                "DeZero": zero,
            }
            work = f"{what}, {BATCHES} steps"
            comparisons.append(alternate(work, contenders, bar=("ours", "PyTorch", bar)))
    report("training_loop", __doc__, comparisons, over="PyTorch")
