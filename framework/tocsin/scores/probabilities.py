"""Metrics of probabilities themselves, as pure functions: how far they are from what happened. N messages.

    brier              mean of (probability - target)²; 0 is perfect, a constant .5 has .25, a label's own prevalence
                       p has p (1 - p). Brier 1950, "Verification of forecasts expressed in terms of probability".
    log_loss           mean of -ln(probability given to what happened), in nats. Probabilities lie in
                       [1e-7, 1 - 1e-7] (`tocsin.logits`), so that one miss costs at most 16.1.
    calibration_error  root mean square distance between what a probability says and how often it holds, estimated
                       in bins and freed of the part that chance alone adds.

A null (NaN) target is left out; without a known target all three are NaN, and with fewer than two the calibration
error is. A soft target counts as 1 from 0.5 up, as in `tocsin.scores.metrics`.

The calibration error in B bins of equally many messages, n_b in bin b with mean probability p_b and share of positives
y_b, is the root of

    sum over b of n_b / n * ((p_b - y_b)² - y_b (1 - y_b) / (n_b - 1))

The second term is an unbiased estimate of what (p_b - y_b)² has from the draw of n_b messages even where every
probability is right (Bröcker 2012, "Estimating reliability and resolution of probability forecasts through
decomposition of the empirical score", Climate Dynamics 39; Kumar, Liang and Ma 2019, "Verified uncertainty
calibration", NeurIPS, section 4). Where it leaves less than 0, nothing beyond chance was found: the error is 0.
Errors that cancel inside a bin are not seen.
"""

from __future__ import annotations

import numpy as np

from tocsin.errors import DataError
from tocsin.labels.targets import POSITIVE_FROM
from tocsin.logits import PROBABILITY_LIMIT
from tocsin.scores.means import ratio

__all__ = ["BINS", "Bins", "brier", "calibration_error", "log_loss", "log_losses"]

BINS = 15
"""Bins of a calibration error, fewer where there are not 10 messages for each."""
_CHUNK = 2**20


def brier(targets_N: np.ndarray, probabilities_N: np.ndarray) -> float:
    """Mean squared distance of probabilities (N,) from targets (N,) of 0, 1 and NaN; NaN where none is known.

    Raises:
        DataError: For probabilities outside [0, 1] or NaN, or shapes that disagree.
    """
    positive, given = _known(targets_N, probabilities_N)
    return float(ratio(((given - positive) ** 2).sum(), len(given)))


def log_loss(targets_N: np.ndarray, probabilities_N: np.ndarray) -> float:
    """Mean negative logarithm of the probability given to what happened, in nats. Arguments, errors as in `brier`."""
    positive, given = _known(targets_N, probabilities_N)
    return float(ratio(log_losses(positive, given).sum(), len(given)))


def log_losses(positive_N: np.ndarray, probabilities_N: np.ndarray) -> np.ndarray:
    """Return (N,) the negative logarithm of each probability given to what happened; bool targets."""
    happened = np.where(positive_N, probabilities_N, 1.0 - probabilities_N)
    return -np.log(np.clip(happened, PROBABILITY_LIMIT, 1.0 - PROBABILITY_LIMIT))


def calibration_error(targets_N: np.ndarray, probabilities_N: np.ndarray, bins: int = BINS) -> float:
    """Debiased root mean square calibration error, as the module tells; NaN with fewer than two known targets.

    Arguments and errors as in `brier`; `bins` is the most bins that are made.
    """
    positive, given = _known(targets_N, probabilities_N)
    return Bins(positive, given, bins).error()


class Bins:
    """Known targets and their probabilities, cut into bins of equally many messages, lowest probabilities first.

    Equal probabilities stay in one bin, so that the order of the messages does not count.

    Args:
        positive_N: (N,) bool.
        probabilities_N: (N,) in [0, 1].
        bins: The most bins.

    Attributes:
        counts_B: Messages of each bin.
        mean_B: Mean probability of each bin.
        share_B: Share of positives of each bin.
    """

    def __init__(self, positive_N: np.ndarray, probabilities_N: np.ndarray, bins: int = BINS) -> None:
        n = len(positive_N)
        if not n:
            self.counts_B, self.mean_B, self.share_B = np.zeros((3, 0))
            return
        rising = np.sort(probabilities_N)
        wanted = max(1, min(bins, n // 10))
        starts = np.unique(rising[np.arange(1, wanted) * n // wanted])
        starts = starts[starts > rising[0]]
        del rising
        sums_3B = np.zeros((3, len(starts) + 1))
        # all cells of a large table are binned here: no further array of their size
        for first in range(0, n, _CHUNK):
            given = probabilities_N[first : first + _CHUNK].astype(np.float64)
            place = np.searchsorted(starts, given, side="right")
            weights = (None, given, positive_N[first : first + _CHUNK].astype(np.float64))
            for sums_B, values in zip(sums_3B, weights, strict=True):
                sums_B += np.bincount(place, values, minlength=len(sums_B))
        self.counts_B = sums_3B[0]
        self.mean_B, self.share_B = sums_3B[1:] / self.counts_B

    def error(self) -> float:
        """Return the debiased root mean square calibration error; NaN with fewer than two messages."""
        return float(np.sqrt(max(0.0, squared))) if (squared := self.squared_error()) == squared else np.nan

    def squared_error(self) -> float:
        """Return the debiased mean square calibration error, which chance can take below 0."""
        certain = self.counts_B >= 2  # the chance part of a single message cannot be estimated
        if not certain.any():
            return np.nan
        counts, mean, share = self.counts_B[certain], self.mean_B[certain], self.share_B[certain]
        return float(counts @ ((mean - share) ** 2 - share * (1 - share) / (counts - 1)) / counts.sum())


def _known(targets_N: np.ndarray, probabilities_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The known cells of a column: targets as bool, probabilities as float64."""
    targets_N, given = np.asarray(targets_N, np.float64), np.asarray(probabilities_N, np.float64)
    if targets_N.shape != given.shape:
        raise DataError(f"Targets {targets_N.shape} and probabilities {given.shape} must have one shape.")
    known = ~np.isnan(targets_N)
    given = given[known]
    if given.size and not (given.min() >= 0 and given.max() <= 1):  # NaN compares as neither
        raise DataError(
            f"Probabilities reach from {given.min():g} to {given.max():g}; 0 to 1 is wanted. Are they logits?"
        )
    return targets_N[known] >= POSITIVE_FROM, given
