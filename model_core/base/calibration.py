"""What a model card knows of its verdict: ill or not as a probability, how often controls look ill.

Standard library only; weights without such a block give no probability and no verdict of a scan.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from model_core.base.errors import SettingsError


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise SettingsError(message)


@dataclass(frozen=True, kw_only=True)
class ScanCheck:
    """Whole scans of known patients that these weights were tried on, none of them used in training.

    ``right`` of ``scans`` had the verdict of their label; ``low`` and ``high`` are the exact 95 % limits of
    that share.
    """

    scans: int
    right: int
    low: float
    high: float

    def __post_init__(self) -> None:
        _check(
            0 <= self.right <= self.scans and 0.0 <= self.low <= self.high <= 1.0,
            f"{self.right} of {self.scans} scans right, {self.low} to {self.high}, contradicts itself.",
        )


@dataclass(frozen=True, kw_only=True)
class TrainingCloud:
    """Where slices like those of the training lie: mean and inverse covariance of a few stated features.

    Attributes
    ----------
    features:
        Their names, see `engine.novelty`.
    mean, scale:
        Of each feature in the training data; features are centred and divided first.
    precision:
        Inverse of the shrunk covariance of the scaled features, one tuple for each row.
    limit:
        Mahalanobis distance beyond which a slice is unlike them; 95 % of the slices of left-out sources are
        within it.
    """

    features: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]
    limit: float

    def __post_init__(self) -> None:
        count = len(self.features)
        square = len(self.precision) == count and all(len(row) == count for row in self.precision)
        _check(
            count == len(self.mean) == len(self.scale) and square,
            f"Mean, scale and precision do not fit the {count} features.",
        )
        _check(all(step > 0 for step in self.scale) and self.limit > 0, "Scales and limit are above 0.")


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """From the logits of module S to the probability that a slice shows pneumonia of any kind.

    Attributes
    ----------
    slope, bias:
        Probability = sigmoid(slope * (logsumexp of the logits of ``ill_classes`` - that of Control) + bias).
    ill_classes:
        Which classes are pneumonia: 1 and 2 (papers), or 2 alone where class 1 is any other patient.
    control_rate:
        Share of the slices of controls, left out of module S, whose probability is above one half.
    control_limit:
        Upper 95 % limit of that share.
    kinds_told:
        Whether the kind of pneumonia may be named: its AUC by patient, one source left out, has a lower
        limit above one half.
    cloud:
        What the training data looked like; None where nothing is known.
    checked:
        Whole scans these weights were tried on; None where there are none.
    """

    slope: float
    bias: float
    ill_classes: tuple[int, ...]
    control_rate: float
    control_limit: float
    kinds_told: bool = False
    cloud: TrainingCloud | None = None
    checked: ScanCheck | None = None

    def __post_init__(self) -> None:
        _check(
            bool(self.ill_classes) and all(k >= 1 for k in self.ill_classes),
            f"The classes of pneumonia are classes from 1 on, not {self.ill_classes}.",
        )
        _check(self.slope > 0, f"The slope of a calibration is above 0, not {self.slope}.")
        _check(
            0.0 <= self.control_rate <= self.control_limit <= 1.0,
            f"Controls: a share of {self.control_rate} with the upper limit {self.control_limit}.",
        )

    def ill_probability(self, logits: tuple[float, ...]) -> float:
        """Return the probability that the slice of these logits shows pneumonia of any kind."""
        ill = [logits[k] for k in self.ill_classes]
        largest = max(ill)
        several = largest + math.log(sum(math.exp(logit - largest) for logit in ill))
        return self.probability(several - logits[0])

    def probability(self, logit: float) -> float:
        """Return the probability of pneumonia that a logit of "ill or not" means."""
        value = self.slope * logit + self.bias
        return 1.0 / (1.0 + math.exp(-value)) if value > -700 else 0.0
