"""Optimizers, which move parameters along their gradients, and schedules of the learning rate (`lr_scheduler`)."""

from tinygrad_med.engine.errors import answers
from tinygrad_med.optim import lr_scheduler as lr_scheduler
from tinygrad_med.optim.adam import Adam as Adam, AdamW as AdamW
from tinygrad_med.optim.lbfgs import LBFGS as LBFGS
from tinygrad_med.optim.optimizer import Optimizer as Optimizer
from tinygrad_med.optim.rmsprop import Adagrad as Adagrad, RMSprop as RMSprop
from tinygrad_med.optim.sgd import SGD as SGD
from tinygrad_med.optim.variants import Adadelta as Adadelta, Adamax as Adamax, NAdam as NAdam, RAdam as RAdam

__getattr__ = answers(globals(), "a class with update(p, state, group), below Optimizer, is an optimizer")
