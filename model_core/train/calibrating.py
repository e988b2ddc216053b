"""From logits of patients left out to the calibration of a card: ill or not, false alarms, likeness."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit

from model_core.base.arrays import BoolArray, DoubleArray, FloatArray
from model_core.base.calibration import Calibration, TrainingCloud
from model_core.base.errors import DataError
from model_core.base.references import References
from model_core.engine.novelty import FEATURES, distance
from model_core.measure.bootstrap import Interval, group_means, interval, quoted, rounded
from model_core.measure.calibration import brier, fit_logistic, share_limits
from model_core.measure.classification import auc
from model_core.train.image_class import batches
from model_core.train.roi_rows import RoiRows, ill_logits

# Fewer patients of a kind, left out, can show nothing.
FEWEST_PATIENTS = 10
# Of the covariance: so much of it is taken as if the features were independent.
SHRINKAGE = 0.4
_WITHIN = 0.95  # of the slices of left-out sources
# Control slices that explanations compare with.
REFERENCES = 32
_DIGITS = 6


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Slices with the logits of a module S that was not trained on their patients.

    ``unseen`` (n,) are those that the detector was not trained on either; None where that is unknown.
    """

    logits: FloatArray
    data: RoiRows
    ill_classes: tuple[int, ...]
    unseen: BoolArray | None = None

    @property
    def values(self) -> DoubleArray:
        """(n,) logits of "ill or not"."""
        return ill_logits(self.logits, self.ill_classes)

    def at(self, which: BoolArray) -> LeftOut:
        """Return some of the slices."""
        unseen = None if self.unseen is None else self.unseen[which]
        return LeftOut(self.logits[which], self.data.at(which), self.ill_classes, unseen)


def calibrate(
    parts: Sequence[LeftOut], *, cloud: TrainingCloud | None = None
) -> tuple[Calibration, dict[str, Any]]:
    """Return the calibration of "ill or not" and its measures.

    Slope and bias are fitted on the slices that the detector did not see either, where these are of at least
    `FEWEST_PATIENTS` ill patients and controls; never on slices whose label is that of the study, as it would
    be learned that slices without a finding are ill. ``control_limit`` is that of the source whose controls
    look ill most often: another scanner is another source. Sources of fewer than `FEWEST_PATIENTS` controls
    count together, and only where there is no larger one.

    Raises
    ------
    DataError
        If there are too few ill patients or controls, or their logits do not tell them apart at all.
    """
    known = [part.at(~np.isnan(part.data.ill)) for part in parts]
    sure = [part.at(~part.data.weak) for part in known]
    unseen = [part.at(part.unseen) for part in sure if part.unseen is not None]
    apart = _enough(unseen)
    used = unseen if apart else sure
    if not _enough(used):
        raise DataError(
            f"A calibration needs at least {FEWEST_PATIENTS} patients with pneumonia and as many controls."
        )
    slope, bias = _fit(used)
    if not slope > 0:
        raise DataError("The logits of these weights do not tell ill slices from controls: no calibration.")
    left_out = [part.at(part.unseen) for part in known if part.unseen is not None] if apart else known
    rates, hits = (_shares_ill(left_out, slope, bias, wanted) for wanted in (0.0, 1.0))
    # Of a source with a handful of controls the upper limit says nothing.
    large = [rate for rate in rates.values() if rate["patients"] >= FEWEST_PATIENTS]
    limits = [rate["share_interval"][1] for rate in large] or [_pooled_limit(rates)]
    kinds = next(filter(None, map(kinds_apart, parts)), {"told": False})
    calibration = Calibration(
        slope=round(slope, _DIGITS),
        bias=round(bias, _DIGITS),
        ill_classes=parts[0].ill_classes,
        control_rate=round(float(np.mean([rate["share"] for rate in rates.values()])), 4),
        control_limit=round(max(limits), 4),
        kinds_told=kinds["told"],
        cloud=cloud,
    )
    return calibration, {
        "fitted_on": {
            "slices": sum(len(part.data) for part in used),
            "patients": sum(len(set(part.data.groups)) for part in used),
            "left_out_of_the_detector": apart,
        },
        "controls_that_look_ill": rates,
        "ill_that_look_ill": hits,
        "by_source": _by_source(known, sure),
        "kinds": kinds,
    }


def _enough(parts: Sequence[LeftOut]) -> bool:
    """Whether there are enough patients with pneumonia and controls."""
    patients = {
        (ill, group) for part in parts for ill, group in zip(part.data.ill, part.data.groups, strict=True)
    }
    return all(sum(ill == wanted for ill, _ in patients) >= FEWEST_PATIENTS for wanted in (0.0, 1.0))


def _fit(parts: Sequence[LeftOut]) -> tuple[float, float]:
    """Return slope and bias: ill and controls weigh the same, in each the sources, in these the patients."""
    keys = [
        key
        for part in parts
        for key in zip(part.data.ill.tolist(), part.data.families, part.data.groups, strict=True)
    ]
    slices = Counter(keys)
    patients = Counter(key[:2] for key in slices)
    sources = Counter(key[0] for key in patients)
    weights = [1 / (sources[key[0]] * patients[key[:2]] * slices[key]) for key in keys]
    values = np.concatenate([part.values for part in parts])
    return fit_logistic(values, np.array([key[0] for key in keys]) > 0.5, np.array(weights))


def _by_source(known: Sequence[LeftOut], sure: Sequence[LeftOut]) -> dict[str, Any]:
    """Return `measures` of each source under slope and bias of the others; of all where these are too few.

    Slope and bias are fitted on the slices with a ``sure`` label.
    """
    found: dict[str, Any] = {}
    for part in known:
        families = np.array(part.data.families)
        for source in sorted(set(families.tolist())):
            others = [one.at(np.array(one.data.families) != source) for one in sure]
            apart = _enough(others)
            slope, bias = _fit(others if apart else sure)
            for name, values in measures(part.at(families == source), slope, bias).items():
                own = f"{name}, tested" if name in found else name  # a source both trained on and tested
                found[own] = {**values, "slope_and_bias_of_other_sources": apart}
    return found


def measures(part: LeftOut, slope: float, bias: float) -> dict[str, Any]:
    """Return, by source with ill slices and controls, Brier score and slope and intercept of calibration.

    With and without the slices whose label is that of the study. Intervals are over patients.
    """
    found: dict[str, Any] = {}
    families = np.array(part.data.families)
    for source in sorted(set(families.tolist())):
        mine = (families == source) & ~np.isnan(part.data.ill)
        found |= _measured(source, part.at(mine), slope, bias)
        if part.data.weak[mine].any():
            found |= _measured(f"{source}, without weak labels", part.at(mine & ~part.data.weak), slope, bias)
    return found


def _measured(name: str, part: LeftOut, slope: float, bias: float) -> dict[str, Any]:
    truth = part.data.ill > 0.5
    if truth.all() or not truth.any():
        return {}
    probability = expit(slope * part.values + bias)
    groups, odds = part.data.groups, logit(np.clip(probability, 1e-6, 1 - 1e-6))
    base = float(truth.mean())
    several: dict[str, Interval] = {
        "auc": interval(lambda k: auc(part.values[k], truth[k]), groups),
        "brier": interval(lambda k: brier(probability[k], truth[k]), groups),
        "calibration_slope": interval(lambda k: fit_logistic(odds[k], truth[k])[0], groups),
        "calibration_intercept": interval(lambda k: fit_logistic(odds[k], truth[k])[1], groups),
    }
    told: dict[str, Any] = {}
    for key, one in several.items():
        told |= quoted(key, one.rounded())
    return {
        name: {
            "slices": len(truth),
            "patients": len(set(groups)),
            "ill": int(truth.sum()),
            "brier_of_base_rate": round(base * (1 - base), 4),
            **told,
        }
    }


def _pooled_limit(rates: Mapping[str, Any]) -> float:
    """Return the upper limit of the share of slices that look ill, of all sources together."""
    hits = sum(round(rate["share"] * rate["slices"]) for rate in rates.values())
    return float(share_limits(hits, sum(rate["slices"] for rate in rates.values()))[1])


def _shares_ill(parts: Sequence[LeftOut], slope: float, bias: float, wanted: float) -> dict[str, Any]:
    """Return the share of slices with this truth that look ill, by source, with its exact limits."""
    found: dict[str, Any] = {}
    sources = np.array([source for part in parts for source in part.data.sources])
    groups = [group for part in parts for group in part.data.groups]
    truth = np.concatenate([part.data.ill for part in parts])
    looks_ill = np.concatenate([slope * part.values + bias > 0 for part in parts])
    unseen = [part.unseen for part in parts if part.unseen is not None]
    for source in sorted(set(sources[truth == wanted].tolist())):
        mine = (sources == source) & (truth == wanted)
        count, hits = int(mine.sum()), int(looks_ill[mine].sum())
        known = len(unseen) == len(parts)
        seen = {"unseen_by_the_detector": int(np.concatenate(unseen)[mine].sum())} if known else {}
        found[source] = {
            "slices": count,
            "patients": len({name for name, own in zip(groups, mine, strict=True) if own}),
            "share": round(hits / count, 4),
            "share_interval": [round(limit, 4) for limit in share_limits(hits, count)],
            **seen,
        }
    return found


def kinds_apart(part: LeftOut) -> dict[str, Any] | None:
    """Return the AUC by patient of COVID-19 against confirmed common pneumonia, and whether it tells kinds.

    None where no source has both, or the weights no class for each. They can be told where the lower limit of
    the AUC is above one half and there are `FEWEST_PATIENTS` of each: of fewer, an interval over patients is
    no interval. Only sources with both kinds count: otherwise the scanner would be told, not the kind.
    """
    if not {1, 2} <= set(part.ill_classes):
        return None
    families = np.array(part.data.families)
    covid, confirmed = part.data.labels == 2, part.data.confirmed
    shared = set(families[covid].tolist()) & set(families[confirmed].tolist())
    both = (covid | confirmed) & np.isin(families, sorted(shared))
    if not shared:
        return None
    margin = (part.logits[:, 2] - part.logits[:, 1])[both]
    groups = [name for name, own in zip(part.data.groups, both, strict=True) if own]
    means = group_means(margin, groups)
    truth = group_means(covid[both].astype(np.float64), groups)
    values, flags = np.array(list(means.values())), np.array([truth[name] > 0.5 for name in means])
    found = interval(lambda k: auc(values[k], flags[k]), list(means))
    enough = min(int(flags.sum()), int((~flags).sum())) >= FEWEST_PATIENTS
    return {
        "patients_with_common_pneumonia": int((~flags).sum()),
        "patients_with_covid": int(flags.sum()),
        "auc": rounded(found.value),
        **({"auc_interval": [rounded(found.low), rounded(found.high)]} if enough else {}),
        "told": bool(enough and found.low > 0.5),
    }


def fit_cloud(parts: Sequence[RoiRows]) -> tuple[TrainingCloud, dict[str, float]]:
    """Return where slices like these lie, and the share of each source's slices that the others call unlike.

    ``parts`` are the slices trained on and those tested on, what the weights are known to meet. The limit is
    that of 95 % of the slices of left-out sources, sources weighing the same.

    Raises
    ------
    DataError
        If there are fewer than two sources, or no features.
    """
    data = _together(parts)
    families = np.array(data.families)
    names = sorted(set(families.tolist()))
    if data.features is None or len(names) < 2:
        raise DataError("What is unlike the training data needs pictures of at least two sources.")
    apart: dict[str, DoubleArray] = {}
    for name in names:
        cloud = _cloud(data.at(families != name), limit=1.0)
        apart[name] = np.array([distance(cloud, one) for one in data.features[families == name]])
    every = np.concatenate([apart[name] for name in names])
    weights = np.concatenate([np.full(len(apart[name]), 1 / len(apart[name])) for name in names])
    order = np.argsort(every)
    place = int(np.searchsorted(np.cumsum(weights[order]) / weights.sum(), _WITHIN))
    limit = float(every[order][min(place, len(every) - 1)])
    shares = {name: round(float((apart[name] > limit).mean()), 4) for name in names}
    return _cloud(data, limit=round(limit, 4)), shares


def references_of(data: RoiRows, *, size: int) -> References | None:
    """Return RoI batches of `REFERENCES` control slices, patients alike, of slices left out of module S.

    None where there are fewer.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for place in np.flatnonzero(data.labels == 0).tolist():
        groups.setdefault((data.sources[place], data.groups[place]), []).append(place)
    if sum(map(len, groups.values())) < REFERENCES:
        return None
    quotas = dict.fromkeys(groups, 0)
    # Around the patients, one slice each, until there are enough.
    while (missing := REFERENCES - sum(quotas.values())) > 0:
        for key in [key for key in groups if quotas[key] < len(groups[key])][:missing]:
            quotas[key] += 1
    chosen = [
        groups[key][int(k)]
        for key, count in quotas.items()
        for k in np.linspace(0, len(groups[key]) - 1, count).round()
    ]
    taken = data.at(np.array(chosen, np.int64))
    return References.of(
        batches(taken.rows, size),
        patients=len(set(zip(taken.sources, taken.groups, strict=True))),
        sources=tuple(sorted(set(taken.sources))),
    )


def _together(parts: Sequence[RoiRows]) -> RoiRows:
    """Return the slices of all parts without their regions."""
    features = [part.features for part in parts if part.features is not None]
    return RoiRows(
        np.zeros((sum(map(len, parts)), 1, 1, 5), np.float32),
        np.concatenate([part.labels for part in parts]),
        tuple(source for part in parts for source in part.sources),
        tuple(name for part in parts for name in part.names),
        tuple(group for part in parts for group in part.groups),
        np.concatenate(features) if len(features) == len(parts) else None,
    )


def _cloud(data: RoiRows, *, limit: float) -> TrainingCloud:
    """Return mean and shrunk covariance; sources weigh by the square root of their patients."""
    assert data.features is not None
    keys = list(zip(data.families, data.groups, strict=True))
    slices = Counter(keys)
    patients = Counter(source for source, _ in slices)
    weights = np.array([patients[key[0]] ** -0.5 / slices[key] for key in keys])
    weights /= weights.sum()
    mean = weights @ data.features
    scale = np.sqrt(weights @ (data.features - mean) ** 2) + 1e-6
    scaled = (data.features - mean) / scale
    covariance = (scaled * weights[:, None]).T @ scaled
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.eye(len(FEATURES))
    return TrainingCloud(
        features=FEATURES,
        mean=_numbers(mean),
        scale=_numbers(scale),
        precision=tuple(_numbers(row) for row in np.linalg.inv(covariance)),
        limit=limit,
    )


def _numbers(values: DoubleArray) -> tuple[float, ...]:
    return tuple(round(float(value), _DIGITS) for value in values)
