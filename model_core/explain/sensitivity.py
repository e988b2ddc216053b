"""How the class of a slice depends on the thresholds of its evidence: what each slider would do."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

import numpy as np

from model_core.base.errors import SettingsError
from model_core.base.jobs import Progress
from model_core.base.reasons import Curve, Sensitivity
from model_core.base.results import ImageVerdict, SliceResult
from model_core.base.settings import EvidenceEdit, EvidenceSettings
from model_core.engine.evidence import judge
from model_core.engine.pipeline import Pipeline
from model_core.explain.attribution import with_ill
from model_core.explain.decisive import Rule
from model_core.scene import class_name

_SCORES = np.round(np.linspace(0.0, 1.0, 101), 2)
_IOUS = np.round(np.linspace(0.0, 1.0, 51), 2)


def sensitivity(
    pipeline: Pipeline, result: SliceResult, settings: EvidenceSettings, edit: EvidenceEdit | None = None
) -> Generator[Progress | Sensitivity, None, None]:
    """Yield, last, the class of a slice along the score and the NMS threshold; no backbone runs.

    Every place is what the slider at that place gives (`engine.evidence.judge`), the replication drawn by the
    same seed.

    Raises
    ------
    SettingsError
        If the weights give no image class.
    """
    trained = replace(pipeline.evidence, temperature=settings.temperature)
    usual = judge(pipeline, result, trained, edit)
    if usual is None:
        raise SettingsError("These weights give no image class: choose a classifier or a single-shot model.")
    calibration = pipeline.calibration
    names = pipeline.image_classes
    outputs = tuple(class_name(names, k) for k in range(len(usual.logits)))
    curves = []
    for field, places in (("score", _SCORES), ("nms_iou", _IOUS)):
        now, own = _place(settings, field), _place(trained, field)
        places = np.unique(np.concatenate((places, (now, own))))
        found: list[ImageVerdict] = []
        for done, place in enumerate(places.tolist()):
            yield Progress(done, len(places), "Class along the thresholds")
            moved = _moved(settings, field, place)
            if found and field == "score" and _same_regions(found[-1], place, settings):
                found.append(found[-1])
                continue
            verdict = judge(pipeline, result, moved, edit)
            assert verdict is not None
            found.append(verdict)
        curves.append(_curve(found, places, usual, pipeline, now=now, own=own))
    yield Sensitivity(
        result.slice_index,
        settings,
        outputs if calibration is None else (*outputs, "ill"),
        calibration,
        *curves,
    )


def _place(settings: EvidenceSettings, field: str) -> float:
    """Return where a threshold lies on its axis: every score is above 0, an IoU of 1 removes nothing."""
    value = getattr(settings, field)
    return 1.0 if value is None else max(0.0, float(value))


def _moved(settings: EvidenceSettings, field: str, place: float) -> EvidenceSettings:
    """Return the settings at a place; those in force as they are: off, or below every score."""
    if place == _place(settings, field):
        return settings
    return replace(settings, score=place) if field == "score" else replace(settings, nms_iou=place)


def _same_regions(former: ImageVerdict, place: float, settings: EvidenceSettings) -> bool:
    """Whether a higher score threshold leaves the regions of the former place: none of them is below it."""
    batch = former.batch
    if not len(batch.kept):
        return True
    return float(batch.rows[-1, 0]) > replace(settings, score=place).network_score


def _curve(
    found: Sequence[ImageVerdict],
    places: np.ndarray,
    usual: ImageVerdict,
    pipeline: Pipeline,
    *,
    now: float,
    own: float,
) -> Curve:
    calibration = pipeline.calibration
    ill = () if calibration is None else calibration.ill_classes
    logits = with_ill(np.array([verdict.logits for verdict in found], np.float64), ill)
    verdicts = Rule.of(calibration).verdicts(logits)
    return Curve(
        places=places,
        logits=logits,
        regions=np.array([len(verdict.batch.kept) for verdict in found]),
        as_trained=np.array([np.array_equal(verdict.batch.rows, usual.batch.rows) for verdict in found]),
        flips=tuple((np.flatnonzero(np.diff(verdicts)) + 1).tolist()),
        now=now,
        trained=own,
    )
