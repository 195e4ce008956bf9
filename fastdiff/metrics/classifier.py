"""The network of the embedded feature extractor: a small convolutional digit classifier."""

import torch.nn.functional as F
from torch import Tensor, nn


class Classifier(nn.Module):
    """Images (B C size size) in [0, 1] -> features (B D) and logits (B classes).

    The features are taken before the last activation, where no dimension is dead: their covariance has full rank.
    """

    def __init__(self, size: int = 28, in_channels: int = 1, width: int = 32, features: int = 64, classes: int = 10):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(2 * width)
        self.conv3 = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.norm3 = nn.BatchNorm2d(2 * width)
        self.features = nn.Linear(2 * width * (size // 4) ** 2, features)
        self.logits = nn.Linear(features, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.max_pool2d(F.relu(self.norm1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.norm2(self.conv2(x))), 2)
        features = self.features(F.relu(self.norm3(self.conv3(x))).flatten(1))
        return features, self.logits(F.relu(features))
