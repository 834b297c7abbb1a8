"""Training, with fastai's names: `learner` (the loop), `schedules`, `finder`, `recorder`, `callbacks`, `pictures`."""

from tinygrad_med.learner.callbacks import Callback as Callback
from tinygrad_med.learner.callbacks import CancelFit as CancelFit
from tinygrad_med.learner.callbacks import DivergedError as DivergedError
from tinygrad_med.learner.callbacks import Progress as Progress
from tinygrad_med.learner.callbacks import StopAtDivergence as StopAtDivergence
from tinygrad_med.learner.finder import Suggestions as Suggestions
from tinygrad_med.learner.learner import Learner as Learner
from tinygrad_med.learner.metrics import accuracy as accuracy
from tinygrad_med.learner.metrics import error_rate as error_rate
from tinygrad_med.learner.pictures import ClassificationInterpretation as ClassificationInterpretation
from tinygrad_med.learner.pictures import show_batch as show_batch
from tinygrad_med.learner.pictures import show_image as show_image
from tinygrad_med.learner.recorder import Recorder as Recorder
