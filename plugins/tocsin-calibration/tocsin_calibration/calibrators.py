"""Calibrators: one fit a label, drawn towards the fit over all labels where positives are few. N messages, L labels."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np

from tocsin.plugins import Calibrator, ConfigError, LabelError, ScoresTable, check_same_labels, did_you_mean
from tocsin_calibration.columns import (
    check_shrinkage,
    group_rows,
    known_cells,
    learning_rows,
    logits_of,
    sigmoid,
    weight,
)
from tocsin_calibration.fits import fit_isotonic, fit_platt, fit_temperature
from tocsin_calibration.states import groups_of, items, labels_of, number, numbers, rising

__all__ = ["Isotonic", "Platt", "PosWeight", "Temperature"]


class _PerLabel(Calibrator):
    """What the calibrators share: the pooling.

    A label's curve counts n / (n + k), and the curve over the cells of all labels the rest, where n is the number of
    its known positives or negatives, whichever is less. A language's curve of a label is drawn in the same way towards
    what the label gets without a language. Where targets are all alike, or none is known, there is no curve and n is
    0; where that holds for all cells together, scores stay as they are.
    """

    on_probabilities: ClassVar[bool] = False
    """Whether curves give probabilities, and are mixed as such; else logits."""

    def __init__(
        self, shrinkage: float, by: str | None, pos_weight: Mapping[str, float] | float | None
    ) -> None:
        check_shrinkage(type(self).__name__, shrinkage)
        weights = pos_weight.values() if isinstance(pos_weight, Mapping) else [pos_weight or 1.0]
        if not all(0.0 < each < float("inf") for each in weights) or pos_weight == 0:
            raise ConfigError(
                f"{type(self).__name__}: pos_weight is {pos_weight}; wanted numbers above 0, those that the loss of "
                "the training gave to positives."
            )
        self.shrinkage = float(shrinkage)
        self.by = by
        self.pos_weight = dict(pos_weight) if isinstance(pos_weight, Mapping) else pos_weight
        self.labels: tuple[str, ...] = ()
        self.overall: list[Any] | None = None
        self.own: list[list[Any] | None] = []
        self.weights: list[float] = []
        self.groups: dict[str, dict[str, list[Any]]] = {}

    @property
    def columns(self) -> tuple[str, ...]:
        """The column that `by` names."""
        return () if self.by is None else (self.by,)

    @abstractmethod
    def _fit(self, z: np.ndarray, y: np.ndarray) -> list[Any] | None:
        """Fit a curve to cells of both kinds, as plain data."""

    @abstractmethod
    def _curve(self, fitted: list[Any], z: np.ndarray) -> np.ndarray:
        """Give what the curve makes of logits."""

    @abstractmethod
    def _checked(self, fitted: list[Any], what: str) -> list[Any]:
        """Return a curve's plain data as they are; ValueError or TypeError for what `_fit` never gives."""

    def learn(self, table: ScoresTable) -> None:
        """Fit all curves.

        Raises:
            LabelError: `pos_weight` names a label that the table has not.
            DataError: There is no column that `by` names, or no known value in it.
        """
        targets_NL = table.known_targets("Calibration")
        self.labels = table.labels
        z_NL = self._logits(table)
        self.overall, _ = self._fitted(z_NL, targets_NL)
        self.own, self.weights = self._fitted_labels(z_NL, targets_NL)
        self.groups = {}
        for name, rows in learning_rows(table, self.by):
            own, weights = self._fitted_labels(z_NL[rows], targets_NL[rows])
            self.groups[name] = {"own": own, "weights": weights}

    def apply(self, table: ScoresTable) -> ScoresTable:
        """Return the table with calibrated scores.

        Raises:
            LabelError: Other labels than those learned from.
            DataError: There is no column that `by` names.
        """
        check_same_labels(table.labels, self.labels, where="this calibrator")
        z_NL = self._logits(table)
        start = sigmoid if self.on_probabilities else np.array
        result_NL = start(z_NL) if self.overall is None else self._curve(self.overall, z_NL)
        for i in range(len(self.labels)):
            result_NL[:, i] = self._mixed(self.own[i], self.weights[i], z_NL[:, i], result_NL[:, i])
        for name, rows in group_rows(table, self.by):
            group = self.groups.get(name)
            if group is None:
                continue  # a language not seen gets what a label gets without one
            for i in range(len(self.labels)):
                cells = (rows, i)
                result_NL[cells] = self._mixed(
                    group["own"][i], group["weights"][i], z_NL[cells], result_NL[cells]
                )
        scores = {"probabilities_NL": result_NL} if self.on_probabilities else {"logits_NL": result_NL}
        return replace(table.uncalibrated(), **{"logits_NL": None, "probabilities_NL": None, **scores})

    def state(self) -> dict[str, Any]:
        """Return the curves and how much each counts."""
        return {
            "labels": list(self.labels),
            "overall": self.overall,
            "own": self.own,
            "weights": self.weights,
            "groups": self.groups,
        }

    def restore(self, state: dict[str, Any]) -> Self:
        """Take over what `state` returned.

        Raises:
            KeyError, TypeError, ValueError: It is nothing that a fit leaves.
        """
        labels = labels_of(state)

        def fits(value: Any, what: str) -> dict[str, list[Any]]:
            own = items(value["own"], f"{what}: own", len(labels))
            return {
                "own": [self._restored(each, f"{what}: own") for each in own],
                "weights": numbers(value["weights"], f"{what}: weights", len(labels), 0.0, 1.0),
            }

        overall, fitted, groups = (
            self._restored(state["overall"], "overall"),
            fits(state, "labels"),
            groups_of(state, fits),
        )
        self.labels, self.overall, self.groups = labels, overall, groups
        self.own, self.weights = fitted["own"], fitted["weights"]
        return self

    def _restored(self, fitted: Any, what: str) -> list[Any] | None:
        return None if fitted is None else self._checked(items(fitted, what), what)

    def _logits(self, table: ScoresTable) -> np.ndarray:
        z_NL = logits_of(table)
        if self.pos_weight is None:
            return z_NL
        if isinstance(self.pos_weight, dict):
            unknown = [name for name in self.pos_weight if name not in self.labels]
            if unknown:
                raise LabelError(
                    f"pos_weight names the label {unknown[0]!r}, which these scores have not."
                    f"{did_you_mean(unknown[0], list(self.labels))}"
                )
            shift = [self.pos_weight.get(name, 1.0) for name in self.labels]
        else:
            shift = [self.pos_weight] * len(self.labels)
        return z_NL - np.log(shift)

    def _fitted(self, z: np.ndarray, targets: np.ndarray) -> tuple[list[Any] | None, float]:
        """Return a curve and its weight; no curve where the known targets are all alike."""
        z_n, y_n = known_cells(z, targets)
        rarer = int(min(y_n.sum(), len(y_n) - y_n.sum()))
        fitted = self._fit(z_n, y_n) if rarer else None
        return fitted, 0.0 if fitted is None else weight(rarer, self.shrinkage)

    def _fitted_labels(
        self, z_NL: np.ndarray, targets_NL: np.ndarray
    ) -> tuple[list[list[Any] | None], list[float]]:
        fits = [self._fitted(z_NL[:, i], targets_NL[:, i]) for i in range(z_NL.shape[1])]
        return [fitted for fitted, _ in fits], [share for _, share in fits]

    def _mixed(
        self, fitted: list[Any] | None, share: float, z: np.ndarray, otherwise: np.ndarray
    ) -> np.ndarray:
        if fitted is None:
            return otherwise
        return share * self._curve(fitted, z) + (1.0 - share) * otherwise


class Temperature(_PerLabel):
    """Divides logits by a temperature: how sure the model sounds changes, never what it holds more likely than not.

    Guo et al. 2017, arXiv 1706.04599. A label's logits are mixed with those of the temperature over all labels,
    n / (n + k) to the rest, where n is the number of its known positives or negatives, whichever is less.

    Args:
        shrinkage: k, in messages: from so many positives on an own temperature counts more than that over all labels.
            0: each label on its own.
        by: A column whose values get temperatures of their own, drawn towards their label's by the same rule: lang,
            or a slice column. null for none. In a bundle, lang alone.
        pos_weight: What the training's loss gave to positives, a number for all labels or one a label by name: log of
            it is taken off the logits first. null for 1.
    """

    def __init__(
        self,
        shrinkage: float = 20.0,
        by: str | None = None,
        pos_weight: dict[str, float] | float | None = None,
    ) -> None:
        super().__init__(shrinkage, by, pos_weight)

    def _fit(self, z: np.ndarray, y: np.ndarray) -> list[Any] | None:
        return [fit_temperature(z, y)]

    def _curve(self, fitted: list[Any], z: np.ndarray) -> np.ndarray:
        return z / fitted[0]

    def _checked(self, fitted: list[Any], what: str) -> list[Any]:
        return numbers(fitted, f"{what}: temperature", 1, low=math.nextafter(0.0, 1.0))


class Platt(_PerLabel):
    """Stretches and shifts logits: sigmoid(a z + b), the slope a never below 0.

    Platt 1999; targets are drawn in from 0 and 1 as there, so that few messages give finite numbers. A label's logits
    are mixed with those of the fit over all labels, n / (n + k) to the rest, where n is the number of its known
    positives or negatives, whichever is less.

    Args:
        shrinkage: k, in messages: from so many positives on an own fit counts more than that over all labels. 0: each
            label on its own.
        by: A column whose values get fits of their own, drawn towards their label's by the same rule: lang, or a slice
            column. null for none. In a bundle, lang alone.
        pos_weight: What the training's loss gave to positives, a number for all labels or one a label by name: log of
            it is taken off the logits first. null for 1.
    """

    def __init__(
        self,
        shrinkage: float = 20.0,
        by: str | None = None,
        pos_weight: dict[str, float] | float | None = None,
    ) -> None:
        super().__init__(shrinkage, by, pos_weight)

    def _fit(self, z: np.ndarray, y: np.ndarray) -> list[Any] | None:
        return list(fit_platt(z, y))

    def _curve(self, fitted: list[Any], z: np.ndarray) -> np.ndarray:
        return fitted[0] * z + fitted[1]

    def _checked(self, fitted: list[Any], what: str) -> list[Any]:
        slope, intercept = items(fitted, f"{what}: slope and intercept", 2)
        return [number(slope, f"{what}: slope", low=0.0), number(intercept, f"{what}: intercept")]


class Isotonic(_PerLabel):
    """Replaces scores by a rising step function of them, whatever its shape; wants about 1,000 messages a label.

    Zadrozny and Elkan 2002; fitted by scikit-learn, linear between steps. A label's probabilities are mixed with
    those of the fit over all labels, n / (n + k) to the rest, where n is the number of its known positives or
    negatives, whichever is less. Scores that fall into one step tie.

    Args:
        shrinkage: k, in messages: from so many positives on an own fit counts more than that over all labels. 0: each
            label on its own.
        by: A column whose values get fits of their own, drawn towards their label's by the same rule: lang, or a slice
            column. null for none. In a bundle, lang alone.
        pos_weight: What the training's loss gave to positives, a number for all labels or one a label by name: log of
            it is taken off the logits first, so that labels are alike in the fit over all. null for 1.
    """

    on_probabilities: ClassVar[bool] = True

    def __init__(
        self,
        shrinkage: float = 100.0,
        by: str | None = None,
        pos_weight: dict[str, float] | float | None = None,
    ) -> None:
        super().__init__(shrinkage, by, pos_weight)

    def _fit(self, z: np.ndarray, y: np.ndarray) -> list[Any] | None:
        return [part.tolist() for part in fit_isotonic(z, y)]

    def _curve(self, fitted: list[Any], z: np.ndarray) -> np.ndarray:
        return np.interp(z, fitted[0], fitted[1])

    def _checked(self, fitted: list[Any], what: str) -> list[Any]:
        x, p = items(fitted, f"{what}: knots", 2)
        knots = rising(numbers(x, f"{what}: knots"), f"{what}: knots")
        if not knots:
            raise ValueError(f"{what}: a curve without knots")
        values = numbers(p, f"{what}: probabilities", len(knots), 0.0, 1.0)
        return [knots, rising(values, f"{what}: probabilities")]


class PosWeight(_PerLabel):
    """Takes back what a training pos_weight did, and nothing else: p = sigmoid(z - log w). Nothing is learned.

    Args:
        pos_weight: w, what the training's loss gave to positives: a number for all labels, or one a label by name.
    """

    def __init__(self, pos_weight: dict[str, float] | float) -> None:
        super().__init__(0.0, None, pos_weight)

    def _fit(self, z: np.ndarray, y: np.ndarray) -> list[Any] | None:
        return None

    def _curve(self, fitted: list[Any], z: np.ndarray) -> np.ndarray:
        return z

    def _checked(self, fitted: list[Any], what: str) -> list[Any]:
        raise ValueError(f"{what} is {fitted!r:.40}; PosWeight learns nothing")
