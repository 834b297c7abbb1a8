"""Networks: the small ones to learn with, and torchvision's, whose parameter names and trained weights they share."""

from tinygrad_med.models.alexnet import AlexNet as AlexNet
from tinygrad_med.models.alexnet import alexnet as alexnet
from tinygrad_med.models.cnn import SmallCNN as SmallCNN
from tinygrad_med.models.cnn import small_cnn as small_cnn
from tinygrad_med.models.linear import LinearModel as LinearModel
from tinygrad_med.models.mlp import mlp as mlp
from tinygrad_med.models.mrnet import MRNet as MRNet
from tinygrad_med.models.resnet import BasicBlock as BasicBlock
from tinygrad_med.models.resnet import ResNet as ResNet
from tinygrad_med.models.resnet import resnet18 as resnet18
from tinygrad_med.models.resnet import resnet34 as resnet34
from tinygrad_med.models.squeezenet import SqueezeNet as SqueezeNet
from tinygrad_med.models.squeezenet import squeezenet1_1 as squeezenet1_1
