"""PyTorch's name for the machinery of differentiation: `autograd.grad`, `autograd.detect_anomaly` …"""

from tinygrad_med.backward import backward as backward
from tinygrad_med.backward import grad as grad
from tinygrad_med.backward import steps as steps
from tinygrad_med.modes import AnomalyError as AnomalyError
from tinygrad_med.modes import detect_anomaly as detect_anomaly
from tinygrad_med.modes import enable_grad as enable_grad
from tinygrad_med.modes import inference_mode as inference_mode
from tinygrad_med.modes import is_grad_enabled as is_grad_enabled
from tinygrad_med.modes import no_grad as no_grad
from tinygrad_med.modes import set_grad_enabled as set_grad_enabled
