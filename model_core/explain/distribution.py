"""The regions of a scan beside those of controls: how far scores and areas lie apart, without a test."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from model_core.base.arrays import DoubleArray, FloatArray
from model_core.base.references import AREA_EDGES, SCORE_EDGES, ControlRois, ControlShares, References
from model_core.base.results import SliceResult, SliceSummary

# Of fewer control patients no envelope and no usual distance is told.
FEWEST_CONTROLS = 20
_QUANTILES = (0.05, 0.5, 0.95)
_DIGITS = 5


class SliceRegions(NamedTuple):
    """(N,) raw scores of the regions in the batch of a slice, each once, and their box areas (network px)."""

    scores: FloatArray
    areas: FloatArray


@dataclass(frozen=True, eq=False)
class Compared:
    """One number of the regions, of a scan and of control slices.

    Attributes
    ----------
    edges:
        (B + 1,) of the bins.
    shares:
        (B,) of the regions of the scan, mean over its slices.
    controls:
        The same of the controls.
    wasserstein:
        Mean shift that makes one histogram the other (earth mover's distance): of a score, 0..1; of an area,
        in doublings.
    jensen_shannon:
        Square root of the Jensen-Shannon divergence in bits: 0 equal, 1 without a common bin.
    beyond:
        Share of the slices of the scan that lie farther from the controls (Wasserstein) than 95 % of control
        slices do from the others; None where that is not known.
    """

    edges: DoubleArray
    shares: DoubleArray
    controls: ControlShares
    wasserstein: float
    jensen_shannon: float
    beyond: float | None


@dataclass(frozen=True, eq=False)
class RoiDistribution:
    """Scores and box areas of the distinct RoIs of a scan and of control slices.

    There is no p-value: the slices of a patient are not independent, and a test would count them as if they
    were.

    Attributes
    ----------
    slices:
        How many slices of the scan they are from.
    control_slices, control_patients, control_sources:
        Of how many slices and patients the controls are, and where from.
    seen:
        How many of the control slices the detector was trained on; None where that is not known.
    areas:
        None where the card knows the scores of controls only.
    """

    slices: int
    control_slices: int
    control_patients: int
    control_sources: tuple[str, ...]
    seen: int | None
    scores: Compared
    areas: Compared | None

    @property
    def controls_text(self) -> str:
        """Who the controls are, for people."""
        patients = f"{self.control_patients} control patient{'s' * (self.control_patients != 1)}"
        each = ", a slice each," if self.control_slices == self.control_patients else ""
        text = f"{patients}{each} from {', '.join(self.control_sources)}"
        if self.seen is None:
            return text
        trained = "all" if self.seen == self.control_slices else str(self.seen or "none")
        return f"{text}; the detector was trained on {trained} of these slices"

    @property
    def distance_lines(self) -> tuple[str, ...]:
        """How far the scan is off the controls, for people."""
        return (*_lines("Scores", self.scores, 3, ""), *_lines("Box areas", self.areas, 1, " doublings"))


def _lines(name: str, one: Compared | None, digits: int, unit: str) -> tuple[str, ...]:
    if one is None:
        return ()
    moved = f"{name}: {one.wasserstein:.{digits}f}{unit} off on average (Wasserstein)"
    apart = f"   histograms {one.jensen_shannon:.2f} apart (Jensen–Shannon, 0 to 1)"
    if one.controls.wasserstein and one.controls.jensen_shannon and one.beyond is not None:
        (usual, most), (usual_apart, most_apart) = one.controls.wasserstein, one.controls.jensen_shannon
        moved += f"; a slice of a control {usual:.{digits}f}, 95 % of them at most {most:.{digits}f}"
        apart += f"; a slice of a control {usual_apart:.2f}, 95 % of them at most {most_apart:.2f}"
        return f"{moved},", f"   {100 * one.beyond:.0f} % of the slices of this scan more than that", apart
    return moved, apart


def roi_distribution(
    results: Iterable[SliceResult],
    controls: ControlRois | References | None,
    summaries: Iterable[SliceSummary] = (),
) -> RoiDistribution | None:
    """Compare the RoI batches of slices, under the evidence that the weights define, with those of controls.

    Slices that show no lung after their ``summaries`` are left out, as controls are slices with lung. None
    where there are no batches, or no controls in the card.
    """
    if controls is None:
        return None
    outside = {summary.slice_index for summary in summaries if summary.lung is False}
    inside = (result for result in results if result.slice_index not in outside)
    own = [regions for result in inside if (regions := slice_regions(result)) is not None]
    if not own:
        return None
    scores = np.stack([score_shares(one.scores) for one in own])
    if isinstance(controls, References):
        # Of an older card: no areas, and mostly of one patient.
        known = np.stack([score_shares(_distinct(rows)[:, 0]) for rows in controls.batches])
        mean = ControlShares(mean=tuple(known.mean(axis=0).tolist()))
        return RoiDistribution(
            len(own), controls.slices, controls.patients, controls.sources, None,
            _compared(scores, mean, SCORE_EDGES), None,
        )  # fmt: skip
    areas = np.stack([area_shares(one.areas) for one in own])
    return RoiDistribution(
        slices=len(own),
        control_slices=controls.patients,
        control_patients=controls.patients,
        control_sources=controls.sources,
        seen=controls.seen,
        scores=_compared(scores, controls.scores, SCORE_EDGES),
        areas=_compared(areas, controls.areas, AREA_EDGES),
    )


def slice_regions(result: SliceResult) -> SliceRegions | None:
    """Return the distinct regions of the RoI batch of a slice; None where there are none."""
    candidates, verdict = result.evidence_candidates, result.verdict
    if candidates is None or verdict is None:
        return None
    source, first = np.unique(verdict.batch.source, return_index=True)
    first, source = first[source >= 0], source[source >= 0]
    if not len(source):
        return None
    boxes = candidates.boxes[source]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return SliceRegions(verdict.batch.rows[first, 0], areas)


def control_rois(
    slices: Sequence[SliceRegions], *, sources: Iterable[str], seen: int | None = None
) -> ControlRois:
    """Return how the regions of control slices, one a patient, are distributed; ``seen`` as in `ControlRois`.

    Raises
    ------
    ValueError
        If there is no slice.
    """
    return ControlRois(
        patients=len(slices),
        sources=tuple(sorted(set(sources))),
        seen=seen,
        scores=_control_shares(np.stack([score_shares(one.scores) for one in slices]), SCORE_EDGES),
        areas=_control_shares(np.stack([area_shares(one.areas) for one in slices]), AREA_EDGES),
    )


def score_shares(scores: FloatArray) -> DoubleArray:
    """Return the (20,) shares of scores in the bins of `SCORE_EDGES`."""
    return _shares(scores, SCORE_EDGES)


def area_shares(areas: FloatArray) -> DoubleArray:
    """Return the (28,) shares of box areas (network-input pixels) in the bins of `AREA_EDGES`."""
    return _shares(areas, AREA_EDGES)


def _shares(values: FloatArray, edges: DoubleArray) -> DoubleArray:
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    shares: DoubleArray = counts / max(1, counts.sum())
    return shares


def _control_shares(shares: DoubleArray, edges: DoubleArray) -> ControlShares:
    """Return what is told of the (P, B) shares of control patients."""
    known = ControlShares(mean=_numbers(shares.mean(axis=0)))
    count = len(shares)
    if count < FEWEST_CONTROLS:
        return known
    others = (shares.sum(axis=0) - shares) / (count - 1)
    pairs = list(zip(shares, others, strict=True))
    shifts = [_wasserstein(one, rest, edges) for one, rest in pairs]
    distances = [_jensen_shannon(one, rest) for one, rest in pairs]
    low, middle, high = np.quantile(shares, _QUANTILES, axis=0)
    return replace(
        known,
        low=_numbers(low),
        middle=_numbers(middle),
        high=_numbers(high),
        wasserstein=_numbers(np.quantile(shifts, _QUANTILES[1:])),
        jensen_shannon=_numbers(np.quantile(distances, _QUANTILES[1:])),
    )


def _compared(slices: DoubleArray, controls: ControlShares, edges: DoubleArray) -> Compared:
    """Compare the (S, B) shares of the slices of a scan with those of controls."""
    mean, own = np.array(controls.mean), slices.mean(axis=0)
    beyond = None
    if controls.wasserstein:
        shifts = np.array([_wasserstein(one, mean, edges) for one in slices])
        beyond = float((shifts > controls.wasserstein[1]).mean())
    return Compared(edges, own, controls, _wasserstein(own, mean, edges), _jensen_shannon(own, mean), beyond)


def _wasserstein(first: DoubleArray, second: DoubleArray, edges: DoubleArray) -> float:
    """Return the area between both distribution functions: of areas along their doublings."""
    places = np.log2(edges) if edges[0] > 0 else edges
    return float(np.sum(np.abs(np.cumsum(first - second)) * np.diff(places)))


def _jensen_shannon(first: DoubleArray, second: DoubleArray) -> float:
    from scipy.special import rel_entr

    middle = (first + second) / 2
    bits = (rel_entr(first, middle).sum() + rel_entr(second, middle).sum()) / (2 * np.log(2))
    return float(np.sqrt(max(0.0, bits)))


def _distinct(rows: FloatArray) -> FloatArray:
    """Return the rows of a batch without their replicas, which follow each other."""
    new = np.ones(len(rows), np.bool_)
    new[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    return rows[new]


def _numbers(values: DoubleArray) -> tuple[float, ...]:
    return tuple(round(float(value), _DIGITS) for value in values)
