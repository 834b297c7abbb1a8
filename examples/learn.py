"""A linear classifier learns to tell six kinds of scans apart: load, predict, measure, go back, step.

    python examples/learn.py

Each scan has 64×64 pixels. The model gives every class one weight per pixel; a class's score is the weighted sum of the
pixels, plus a bias. That is all of it: no framework beside the engine, and the loop in full.
`examples/engine.py` computes the same gradient with an engine of its own, on one page.
"""

import tinygrad_med as torch
from tinygrad_med.data import medical_mnist

BATCH, EPOCHS, RATE = 64, 3, 0.02


def loss_of(images, labels, weights, bias):
    """How surprised the model is by the right answers, on average: images (N, 4096), labels (N,)."""
    scores = images @ weights + bias  # (N, 6); the bias (6,) is stretched over the N images
    log_probabilities = torch.log_softmax(scores, dim=1)  # scores minus the log of the sum of their exponentials
    return -log_probabilities[range(len(labels)), labels].mean()


def main():
    """Three epochs of the loop that all training is."""
    data = medical_mnist.load()  # the real images where they can be had, else phantoms: it says which
    learn_from, validate_on = medical_mnist.split(len(data), seed=0)

    def batch(rows):
        pixels = torch.tensor(data.images[rows].reshape(len(rows), -1) / 255 - 0.36, dtype=torch.float32)
        return pixels, torch.tensor(data.labels[rows])

    weights = torch.zeros(64 * 64, len(data.classes), requires_grad=True)
    bias = torch.zeros(len(data.classes), requires_grad=True)

    for epoch in range(EPOCHS):
        for start in range(0, len(learn_from), BATCH):
            images, labels = batch(learn_from[start : start + BATCH])
            loss = loss_of(images, labels, weights, bias)
            loss.backward()  # which way does each weight make the loss larger?

            with torch.no_grad():  # go the other way
                for parameter in (weights, bias):
                    parameter -= RATE * parameter.grad
                    parameter.grad.zero_()

        images, labels = batch(validate_on)
        with torch.no_grad():
            answers = (images @ weights + bias).argmax(1)
            right = (answers == labels).float().mean().item()
            print(f"epoch {epoch}: loss {loss_of(images, labels, weights, bias).item():.3f}, {right:.1%} right")


if __name__ == "__main__":
    main()
