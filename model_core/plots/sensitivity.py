"""The class of a slice along the thresholds of its evidence: what each slider would do."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from model_core.base.arrays import DoubleArray
from model_core.base.reasons import Curve, Sensitivity, output_probability
from model_core.plots import style
from model_core.plots.margins import CHARACTER, LEGEND, MINOR_NOTE, SHORT_LEGEND, Margins
from model_core.scene.palette import AMBER, PNEUMONIA, image_colour

# Of the axes: so that a click knows which threshold is meant.
AXES = ("score", "nms_iou")
_NAMES = {"score": "score threshold", "nms_iou": "NMS threshold (IoU)"}
_APART = 0.26
# Between the names of the short legend.
_BETWEEN_PT = 6
# Named one by one.
_MOST_FLIPS = 2


def sensitivity_curves(
    figure: Figure,
    found: Sensitivity,
    *,
    now: tuple[float, float] | None = None,
    theme: style.ThemeName = "dark",
) -> None:
    """Draw the class along the score threshold and along the NMS threshold, side by side.

    The line is the probability of ill, thin lines are the classes; of weights without a calibration the
    classes alone. A white line marks the threshold in force, amber ones where the verdict changes. What is
    shaded are RoI batches that module S was not trained on.

    Parameters
    ----------
    now:
        Score and NMS threshold in force; None: those that the curves were computed at.

    Raises
    ------
    SettingsError
        If the theme is unknown.
    """
    colours = style.theme_named(theme)
    first = style.start(figure, colours, Margins(left=0.5, right=0.14, bottom=0.4, top=0.26))
    figure.delaxes(first)
    both = figure.subplots(1, 2, sharey=True, gridspec_kw={"wspace": _APART})
    places = now or (found.score.now, found.nms_iou.now)
    for axes, field, place in zip(np.ravel(both).tolist(), AXES, places, strict=True):
        _draw(axes, getattr(found, field), found, colours, name=_NAMES[field], now=place)
        axes.set_gid(field)
    left, right = np.ravel(both).tolist()
    left.set_ylabel("probability", color=colours.text, fontsize=style.TEXT_PT, labelpad=3)
    style.headline(left, colours, _caption(found.score, found), colour=colours.text)
    style.headline(right, colours, "shaded: not as trained", right=True, gid=MINOR_NOTE)
    _legend(left, found, colours)
    _short_legend(right, found, colours)


def _draw(
    axes: Axes, curve: Curve, found: Sensitivity, colours: style.Theme, *, name: str, now: float
) -> None:
    style.dress(axes, colours)
    axes.set_xlabel(name, color=colours.text, fontsize=style.TEXT_PT, labelpad=2)
    style.score_axis(axes)
    axes.set_ylim(-0.03, 1.03)
    style.fix_ticks(axes.yaxis, (0, 0.5, 1), ("0", "0.5", "1"))
    _shade(axes, curve, colours)
    axes.axhline(0.5, color=colours.grid, linewidth=0.8)
    calibrated = found.calibration is not None
    classes = len(found.outputs) - calibrated
    for k in range(classes):
        colour = image_colour(found.outputs[k], k)
        thin = 1.0 if calibrated else 1.6
        axes.plot(
            curve.places, _probabilities(curve.logits[:, k], found, ill=False),
            color=colour, linewidth=thin, alpha=0.75, drawstyle="steps-post", gid="class",
        )  # fmt: skip
    if calibrated:
        axes.plot(
            curve.places, _probabilities(curve.logits[:, -1], found, ill=True),
            color=PNEUMONIA, linewidth=2.2, drawstyle="steps-post", gid="ill",
        )  # fmt: skip
    for flip in curve.flips:
        axes.axvline(float(curve.places[flip]), color=AMBER, linewidth=1.2, linestyle=(0, (3, 2)), gid="flip")
    axes.axvline(now, color=colours.selected, linewidth=1.4, gid="now")
    here = int(np.searchsorted(curve.places, now + 1e-9, side="right")) - 1
    logits = curve.logits[max(0, here)]
    value = (
        _probabilities(logits[-1:], found, ill=True)
        if calibrated
        else _probabilities(np.array([logits.max()]), found, ill=False)
    )
    axes.plot([now], value, "o", color=colours.selected, markersize=4.5, gid="now", clip_on=False)


def _named_lines(found: Sensitivity) -> list[tuple[str, str]]:
    """Return name and colour of each line, the thick one first."""
    calibrated = found.calibration is not None
    classes = len(found.outputs) - calibrated
    named = [(found.outputs[-1], PNEUMONIA)] if calibrated else []
    return named + [(found.outputs[k], image_colour(found.outputs[k], k)) for k in range(classes)]


def _short_legend(axes: Axes, found: Sensitivity, colours: style.Theme) -> None:
    """Name the lines in their colours at the right of the notes, without what stands in brackets."""
    after: Annotation | None = None
    for name, colour in reversed(_named_lines(found)):
        text = name.split(" (")[0]
        colour = style.legible(colour, colours)
        if after is None:
            after = style.headline(axes, colours, text, colour=colour, right=True, gid=SHORT_LEGEND)
        else:
            # From the left end of the one before: letters differ in width.
            after = axes.annotate(
                text, (0, 0), (-_BETWEEN_PT, 0), xycoords=after, textcoords="offset points", color=colour,
                fontsize=style.SMALL_PT, ha="right", va="bottom", gid=SHORT_LEGEND,
            )  # fmt: skip


def _legend(axes: Axes, found: Sensitivity, colours: style.Theme) -> None:
    """Name the lines in their colours, in a line of its own above the axes."""
    along = 0.0
    for name, colour in _named_lines(found):
        text = f"■ {name}"
        style.headline(
            axes, colours, text, colour=style.legible(colour, colours), line=1, along=along, gid=LEGEND
        )
        along += (len(text) + 2) * style.SMALL_PT * CHARACTER


def _shade(axes: Axes, curve: Curve, colours: style.Theme) -> None:
    """Shade where the RoI batch is not the one of the thresholds that module S was trained at."""
    edges = np.append(curve.places, 1.0)
    for k in np.flatnonzero(~curve.as_trained).tolist():
        axes.axvspan(
            float(edges[k]),
            float(edges[k + 1]),
            color=colours.faint,
            alpha=0.25,
            linewidth=0,
            gid="untrained",
        )
    axes.plot(
        [curve.trained], [0], marker="^", color=colours.muted, markersize=5, gid="trained", clip_on=False,
        transform=axes.get_xaxis_transform(),
    )  # fmt: skip


def _probabilities(logits: DoubleArray, found: Sensitivity, *, ill: bool) -> list[float]:
    calibration = found.calibration if ill else None
    return [output_probability(float(logit), calibration) for logit in logits]


def _caption(score: Curve, found: Sensitivity) -> str:
    verdict = "class" if found.calibration is None else "verdict"
    if len(score.flips) + len(found.nms_iou.flips) > _MOST_FLIPS:
        times = [f"{len(curve.flips)} ×" for curve in (score, found.nms_iou)]
        return f"{verdict} changes: score {times[0]}, NMS {times[1]}"
    flips = [f"{float(score.places[k]):.2f}" for k in score.flips]
    other = [f"{float(found.nms_iou.places[k]):.2f}" for k in found.nms_iou.flips]
    if not flips and not other:
        return f"the {verdict} stays at every threshold"
    told = []
    if flips:
        told.append(f"score {', '.join(flips)}")
    if other:
        told.append(f"NMS {', '.join(other)}")
    return f"{verdict} changes at {'; '.join(told)}"
