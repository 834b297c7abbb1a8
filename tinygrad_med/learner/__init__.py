"""Training, with fastai's names: `learner` (the loop), `schedules`, `finder`, `recorder`, `callbacks`,
`progress`, `outputs`, `metrics`, `state` (checkpoints), `pictures`."""

from tinygrad_med.learner.callbacks import (
    Callback as Callback,
    CancelFit as CancelFit,
    DivergedError as DivergedError,
    SaveCheckpoint as SaveCheckpoint,
    StopAtDivergence as StopAtDivergence,
)
from tinygrad_med.learner.finder import Suggestions as Suggestions
from tinygrad_med.learner.learner import Learner as Learner
from tinygrad_med.learner.metrics import (
    accuracy as accuracy,
    accuracy_multi as accuracy_multi,
    error_rate as error_rate,
)
from tinygrad_med.learner.pictures import (
    ClassificationInterpretation as ClassificationInterpretation,
    show_batch as show_batch,
    show_image as show_image,
)
from tinygrad_med.learner.progress import Progress as Progress
from tinygrad_med.learner.recorder import Recorder as Recorder
from tinygrad_med.learner.state import Checkpoint as Checkpoint, to_pth as to_pth
