"""Losses over label logits, with unknown labels masked, and over sentence vectors.

Each is a pure function that gives one loss a label and message, and a thin class that masks and sums.
"""

from tocsin.models.losses.asymmetric import AsymmetricLoss
from tocsin.models.losses.coupled import Contrastive, SpreadOut
from tocsin.models.losses.cross_entropy import BinaryCrossEntropy
from tocsin.models.losses.distances import CosineDistance, MeanSquaredError
from tocsin.models.losses.distribution_balanced import DistributionBalancedLoss
from tocsin.models.losses.focal import FocalLoss
from tocsin.models.losses.roles import Loss, VectorLoss

__all__ = [
    "AsymmetricLoss",
    "BinaryCrossEntropy",
    "Contrastive",
    "CosineDistance",
    "DistributionBalancedLoss",
    "FocalLoss",
    "Loss",
    "MeanSquaredError",
    "SpreadOut",
    "VectorLoss",
]
