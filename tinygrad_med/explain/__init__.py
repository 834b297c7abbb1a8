"""Watch backpropagation happen, on one's own computation.

with explain.watch() as trace:
    loss = F.cross_entropy(model(x), y)
    loss.backward()
trace.save("backprop.html")
"""

from tinygrad_med.explain.trace import Trace as Trace
from tinygrad_med.explain.watch import watch as watch
from tinygrad_med.explain.why import why_zero as why_zero
