"""Networks: the small ones to learn with, and torchvision's, whose parameter names and trained weights they share."""

from tinygrad_med.models.alexnet import AlexNet as AlexNet, alexnet as alexnet
from tinygrad_med.models.cnn import SmallCNN as SmallCNN, small_cnn as small_cnn
from tinygrad_med.models.linear import LinearModel as LinearModel
from tinygrad_med.models.mlp import mlp as mlp
from tinygrad_med.models.mrnet import MRNet as MRNet
from tinygrad_med.models.resnet import (
    BasicBlock as BasicBlock,
    Bottleneck as Bottleneck,
    ResNet as ResNet,
    resnet18 as resnet18,
    resnet34 as resnet34,
    resnet50 as resnet50,
)
from tinygrad_med.models.squeezenet import SqueezeNet as SqueezeNet, squeezenet1_1 as squeezenet1_1
from tinygrad_med.models.vgg import VGG as VGG, vgg16 as vgg16
from tinygrad_med.models.weights import Weights

AlexNet_Weights = ResNet18_Weights = ResNet34_Weights = ResNet50_Weights = SqueezeNet1_1_Weights = Weights
VGG16_Weights = Weights
