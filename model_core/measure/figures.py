"""Figures of the evaluation reports, each with its caption."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model_core.base.arrays import BoolArray, FloatArray, IntArray
from model_core.base.settings import GREY_HIGH_HU, GREY_LOW_HU
from model_core.measure.average_precision import HIT_IOU
from model_core.measure.calibration import Reliability
from model_core.measure.roi_statistics import COUNT_THRESHOLDS, TOP, SliceRois
from model_core.plots.style import THEMES
from model_core.report.document import Picture
from model_core.scene import image_colour
from model_core.scene.palette import BLUE, GREEN, ORANGE, REFERENCE

DPI = 110
LIGHT = THEMES["light"]


def _picture(name: str, figure: Figure, caption: str) -> Picture:
    """Return a figure as a PNG without the date and version that would make equal figures differ."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
    return Picture(name, stream.getvalue(), caption)


def _axes(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = [figure.add_subplot(1, columns, k + 1) for k in range(columns)]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(visible=True, color=LIGHT.grid, linewidth=0.8)
        ax.set_axisbelow(True)
    return figure, axes


def ap_by_iou(thresholds: Sequence[float], values: Sequence[float]) -> Picture:
    """Bars of the papers' AP at the ten IoU thresholds."""
    figure, (ax,) = _axes(6.0, 3.0)
    ax.bar([f"{t:.2f}" for t in thresholds], values, color=BLUE)
    ax.set(xlabel="IoU threshold", ylabel="AP (papers' definition)", ylim=(0, 1))
    return _picture("ap_by_iou", figure, "The papers' AP at the ten IoU thresholds, mean over images.")


def dice_and_ap(dice: Sequence[float], ap: Sequence[float]) -> Picture:
    """Histograms of the Dice of lesion images and of the mean AP of all images."""
    figure, (left, right) = _axes(8.0, 3.0, 2)
    bins = np.linspace(0, 1, 21).tolist()
    left.hist(dice, bins, color=GREEN)
    left.set(xlabel="Dice of a slice with lesion", ylabel="slices", xlim=(0, 1))
    right.hist(ap, bins, color=BLUE)
    right.set(xlabel="mean AP of a slice", ylabel="slices", xlim=(0, 1))
    return _picture("dice_and_ap", figure, "Dice of the slices with a lesion, and mean AP of all slices.")


def score_sweep(columns: Mapping[str, Sequence[float | None]], *, chosen: float) -> Picture:
    """Curves of the metrics over the score threshold, and sensitivity against false positives."""
    values = {key: np.array(column, np.float64) for key, column in columns.items()}
    figure, (left, right) = _axes(9.0, 3.6, 2)
    lines = (
        ("dice", "Dice", GREEN, "-"),
        ("paper_map", "mAP, all images", BLUE, "-"),
        ("paper_map_lesion_images", "mAP, lesion images", BLUE, "--"),
        ("sensitivity", "sensitivity", ORANGE, "-"),
    )
    for key, label, colour, style in lines:
        left.plot(values["score_threshold"], values[key], style, color=colour, label=label)
    left.axvline(chosen, color=LIGHT.muted, linewidth=1, linestyle=":", label="used here")
    left.set(xlabel="score threshold", ylim=(0, 1), xlim=(0, 1))
    left.legend(fontsize=8)
    right.plot(values["false_positives_per_image"], values["sensitivity"], "o-", color=ORANGE, markersize=3)
    right.set(xlabel="false positives per image", ylabel=f"sensitivity (IoU > {HIT_IOU:g})", ylim=(0, 1))
    right.set_xlim(left=0)
    return _picture(
        "score_sweep",
        figure,
        "The metrics at other score thresholds. A threshold chosen from these curves must be reported on "
        "other patients.",
    )


def reliability_plot(value: Reliability, *, what: str, caption: str) -> Picture:
    """Share of right answers against score, with the number of scores below."""
    figure, (left, right) = _axes(8.0, 3.4, 2)
    filled = value.counts > 0
    left.plot([0, 1], [0, 1], ":", color=LIGHT.muted)
    left.plot(value.mean_score[filled], value.share_right[filled], "o-", color=BLUE)
    if not np.isnan(value.ece):
        left.set_title(f"expected calibration error {value.ece:.3f}", fontsize=9)
    left.set(xlabel="score", ylabel=f"share of {what}", xlim=(0, 1), ylim=(0, 1))
    right.bar(value.edges[:-1], value.counts, width=np.diff(value.edges), align="edge", color=LIGHT.muted)
    right.set(xlabel="score", ylabel="number", xlim=(0, 1))
    return _picture("calibration", figure, caption)


def dice_by_patient(values: Mapping[str, float]) -> Picture:
    """Mean Dice of each patient, ordered."""
    ordered = sorted(values.items(), key=lambda item: item[1])
    figure, (ax,) = _axes(8.0, 3.0)
    ax.plot([v for _, v in ordered], "o", color=GREEN, markersize=4)
    ax.set(xlabel="patients, by their mean Dice", ylabel="Dice", ylim=(0, 1), xticks=[])
    return _picture(
        "dice_by_patient", figure, "Mean Dice of each patient (or group) over the slices with a lesion."
    )


def gallery(
    panels: Sequence[tuple[str, Callable[[], FloatArray], BoolArray, BoolArray]], *, columns: int = 4
) -> Picture:
    """Slices in the lung window with reference (dashed, yellow) and prediction (orange) outlined.

    Parameters
    ----------
    panels:
        Title, function that reads the (H, W) HU, reference pixels, predicted pixels.
    """
    columns = min(columns, len(panels))
    aspects = [mask.shape[0] / mask.shape[1] for _, _, mask, _ in panels]
    heights = [
        2.7 * min(max(aspects[first : first + columns]), 1.4) + 0.45
        for first in range(0, len(panels), columns)
    ]
    figure = Figure(figsize=(2.7 * columns, sum(heights)), layout="constrained")
    grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
    for number, (title, read, reference, predicted) in enumerate(panels):
        ax = figure.add_subplot(grid[number // columns, number % columns])
        ax.set_anchor("N")
        ax.imshow(read(), cmap="gray", vmin=GREY_LOW_HU, vmax=GREY_HIGH_HU, interpolation="antialiased")
        for pixels, colour, style in ((predicted, ORANGE, "-"), (reference, REFERENCE, "--")):
            if pixels.any():
                ax.contour(pixels, levels=[0.5], colors=[colour], linewidths=1.0, linestyles=[style])
        ax.set_title(title, fontsize=7, parse_math=False)  # a name with $ is no formula
        ax.set_axis_off()
    return _picture("worst", figure, "The worst slices; reference in dashed yellow, prediction in orange.")


def confusion(matrix: IntArray, names: Sequence[str]) -> Picture:
    """Confusion matrix with counts and row shares."""
    figure = Figure(figsize=(5.6, 4.4), layout="constrained")
    ax = figure.add_subplot()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        share = float(shares[row, column])
        ax.text(
            column,
            row,
            f"{count}\n{share:.0%}",
            ha="center",
            va="center",
            fontsize=9,
            color=LIGHT.background if share > 0.6 else LIGHT.text,
        )
    ax.set_xticks(range(len(names)), names, fontsize=8)
    ax.set_yticks(range(len(names)), names, fontsize=8)
    ax.set(xlabel="predicted", ylabel="true")
    return _picture("confusion", figure, "Confusion matrix with the share of each true class.")


def roi_counts(rois: Sequence[SliceRois], labels: IntArray, names: Sequence[str]) -> Picture:
    """Boxplots of the number of RoIs above each threshold, one box per class."""
    figure, axes = _axes(10.0, 3.4, len(COUNT_THRESHOLDS))
    present = [int(c) for c in np.unique(labels)]
    for column, (ax, threshold) in enumerate(zip(axes, COUNT_THRESHOLDS, strict=True)):
        data = [[r.counts()[column] for r, c in zip(rois, labels, strict=True) if c == k] for k in present]
        boxes: dict[str, Any] = ax.boxplot(
            data,
            widths=0.6,
            patch_artist=True,
            flierprops={"markersize": 2},
            medianprops={"color": LIGHT.text},
        )
        for patch, k in zip(boxes["boxes"], present, strict=True):
            patch.set(facecolor=image_colour(names[k], k), alpha=0.6)
        ax.set_xticks(range(1, len(present) + 1), [names[k] for k in present], fontsize=8)
        ax.set_title(f"score > {threshold:g}", fontsize=9)
    axes[0].set_ylabel("RoIs per slice")
    above = " / ".join(f"{t:g}" for t in COUNT_THRESHOLDS)
    return _picture("roi_counts", figure, f"RoIs above {above} per slice.")


def roi_histograms(rois: Sequence[SliceRois], labels: IntArray, names: Sequence[str]) -> Picture:
    """Histograms of RoI scores per class: the top 16 of each slice, and all."""
    figure, axes = _axes(8.0, 3.2, 2)
    edges = np.linspace(0, 1, 41).tolist()
    for ax, top in zip(axes, (TOP, None), strict=True):
        for k in np.unique(labels):
            own = [r.scores[:top] for r, c in zip(rois, labels, strict=True) if c == k]
            colour = image_colour(names[k], int(k))
            ax.hist(np.concatenate(own), edges, histtype="step", color=colour, label=names[int(k)])
        ax.set(xlabel="score", yscale="log", xlim=(0, 1), title=f"top {top}" if top else "all RoIs")
    axes[0].set_ylabel("RoIs")
    axes[1].legend(fontsize=8)
    return _picture("roi_histograms", figure, "Scores of the RoIs by class.")


def roi_score_area(rois: Sequence[SliceRois], labels: IntArray, names: Sequence[str]) -> Picture:
    """Score against decoded box area, per class: the top 16 of each slice, and all."""
    present = [int(c) for c in np.unique(labels)]
    figure, axes = _axes(3.4 * len(present), 3.4, len(present))
    for ax, k in zip(axes, present, strict=True):
        own = [r for r, c in zip(rois, labels, strict=True) if c == k]
        for top, colour, size in ((None, LIGHT.faint, 2), (TOP, image_colour(names[k], k), 5)):
            ax.scatter(
                np.concatenate([r.scores[:top] for r in own]),
                np.maximum(np.concatenate([r.areas[:top] for r in own]), 1.0),
                s=size,
                color=colour,
                linewidths=0,
                rasterized=True,
                label=f"top {top}" if top else "all",
            )
        ax.set(xlabel="score", xlim=(-0.02, 1.02), yscale="log", title=names[k])
    axes[0].set_ylabel("box area (network pixels)")
    axes[-1].legend(fontsize=8)
    return _picture("roi_score_area", figure, "Score against the area of the decoded box.")
