"""Figures as the papers have them, for print: slices in four columns, and two NMS thresholds side by side.

Sizes are those of a page in two columns: text from 6 points on, lines from 0.5. Text and lines are vectors in
the PDF, its fonts embedded; the slices are pictures of 300 dpi.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model_core import __version__
from model_core.base.arrays import BoolArray, ByteArray, FloatArray
from model_core.base.errors import SettingsError
from model_core.base.files import atomic_path, refuse_existing
from model_core.base.results import ShownSlice
from model_core.base.settings import DetectionSettings, EvidenceSettings
from model_core.base.threads import DRAWING
from model_core.base.volume import Volume
from model_core.export.look import DARK
from model_core.export.paper_captions import (
    MOST_ROWS,
    TOP_RANKS,
    PaperLook,
    PaperMaps,
    caption_of_nms,
    caption_of_rows,
    nms_text,
    said_of,
)
from model_core.export.picture import render_slice
from model_core.export.png import RESEARCH_USE
from model_core.scene import Overlays, box_labels, edge_letters
from model_core.scene.labels import Label, Rect, place_labels
from model_core.scene.palette import REFERENCE, SELECTED
from model_core.scene.scale import scale_bar

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from model_core.plots.small import SmallPlot

SUFFIXES = (".pdf", ".png")
# In mm: both columns of a page, one of them.
WIDE, NARROW = 178.0, 86.0
DPI = 300

_MM, _PT = 1 / 25.4, 72 / 25.4
_TEXT, _SMALL = 7.0, 6.0
_LINE, _FINE = 0.7, 0.5
# In mm: names of rows, the gap between pictures, room for a name and numbers of an axis, a line of text.
_NAME, _GAP, _BELOW, _TEXT_LINE = 4.0, 1.2, 7.0, 3.1
_AXIS: dict[SmallPlot, float] = {"scores": 9.0, "area": 13.5, "batch": 9.0}
# Logits beyond are as sure as these: 0.00005 and 0.99995.
_LOGIT_END = 10.0
# Slices are drawn with at least so many pixels on their shorter side: 300 dpi in print.
_LEAST_SIDE = 480
# More detections than this have their scores alone written to them.
_MANY = 8
_PLATE = (DARK, 0.69)


def paper_figure(
    volume: Volume, rows: Sequence[ShownSlice], look: PaperLook, *, reference: ByteArray | None = None
) -> Figure:
    """Return slices in four columns: the slice, detections, mask logits, scores; 178 mm wide.

    Parameters
    ----------
    rows:
        Results of slices, one to a row.
    reference:
        (D, H, W) labels in display order, outlined on the slice.

    Raises
    ------
    SettingsError
        If there is no slice, or there are more than fit on a page.
    """
    if not 1 <= len(rows) <= MOST_ROWS:
        raise SettingsError(f"A figure has 1 to {MOST_ROWS} slices, not {len(rows)}. Choose fewer of them.")
    page = _Page(volume, look, rows, width=WIDE, beside=4)
    limits = _map_limits(rows, look.maps)
    masked = [reference is not None and bool(reference[row.slice_index].any()) for row in rows]
    for number, (shown, marked) in enumerate(zip(rows, masked, strict=True)):
        top = page.head + number * (page.high + _GAP)
        page.name(shown, top)
        left = _NAME
        first = page.picture(left, top, shown, Overlays(outlines=False, labels=False))
        page.orient(first)
        if marked and reference is not None:
            page.outline(first, reference[shown.slice_index] > 0, REFERENCE, dashed=True)
        page.detections(page.picture(left + page.side + _GAP, top, shown, _FILLED), shown)
        page.maps(left + 2 * (page.side + _GAP), top, shown, limits)
        room = left + 3 * (page.side + _GAP) + _AXIS[look.plot]
        page.plot((room, top + 0.6, WIDE - room - 1.6, page.high - _BELOW - 0.6), shown)
    titles = ("a  Slice", "b  Detections", f"c  {_MAP_NAMES[look.maps]}", f"d  {_PLOT_NAMES[look.plot]}")
    for number, title in enumerate(titles):
        page.write(_NAME + number * (page.side + _GAP), page.head - 0.9, title, bold=True)
    end = page.head + len(rows) * (page.high + _GAP) + 0.4
    page.legend(_NAME + page.side + _GAP, end)
    if any(masked):
        page.reference_key(_NAME, end)
    if limits is not None:
        page.colour_bar(_NAME + 2 * (page.side + _GAP), end, limits)
    page.caption(caption_of_rows(volume, rows, look, reference=any(masked)))
    return page.figure


def nms_figure(volume: Volume, columns: Sequence[ShownSlice], look: PaperLook) -> Figure:
    """Return one slice under several NMS thresholds, side by side: detections, below them the plot.

    Parameters
    ----------
    columns:
        Results of the same slice, two or three of them.

    Raises
    ------
    SettingsError
        If there are fewer or more, or they are of different slices.
    """
    if not 2 <= len(columns) <= 3 or len({shown.slice_index for shown in columns}) != 1:
        raise SettingsError("Two or three results of one slice are compared.")
    width = NARROW if len(columns) == 2 else NARROW * 1.5
    page = _Page(volume, look, columns, width=width, beside=len(columns), rows=1)
    from model_core.plots.small import share_heights

    plots = []
    for number, shown in enumerate(columns):
        left = number * (page.side + _GAP)
        axes = page.picture(left, page.head, shown, _FILLED)
        page.detections(axes, shown, clear=number == 0)
        if number == 0:
            page.orient(axes)
        found = len(shown.detections)
        title = f"{'abc'[number]}  NMS {nms_text(shown.detections.settings)}: "
        title += f"{found} detection{'s' * (found != 1)}"
        page.write(left, page.head - 0.9, title, bold=True)
        below = page.head + page.high + _GAP
        top = below + page.words(left, shown, below) + 1.0
        room = _AXIS[look.plot]
        place = (left + room, top, page.side - room - 1.6, 0.62 * page.side)
        plots.append(page.plot(place, shown, column=number))
    share_heights(plots)
    if len(look.scene.region_classes) > 1:
        page.legend(0.0, page.below)
    page.caption(caption_of_nms(volume, columns, look))
    return page.figure


def with_nms(
    detections: DetectionSettings, evidence: EvidenceSettings, iou: float
) -> tuple[DetectionSettings, EvidenceSettings]:
    """Return settings with another NMS; detections are not joined then, which would hide what it does."""
    return replace(detections, nms_iou=iou, join_touching=False), replace(evidence, nms_iou=iou)


def paper_targets(path: Path) -> tuple[Path, Path]:
    """Return the PDF and the PNG that `write_paper_figure` writes for a path."""
    pdf, png = (path.with_suffix(suffix) for suffix in SUFFIXES)
    return pdf, png


def write_paper_figure(
    path: Path, figure: Figure, *, title: str, overwrite: bool = False
) -> tuple[Path, Path]:
    """Write a figure as PDF and as PNG of 300 dpi; equal figures give equal files.

    Raises
    ------
    ExportError
        If one of them exists, or cannot be written.
    """
    from matplotlib import rc_context

    targets = paper_targets(path)
    for target in targets:
        refuse_existing(target, overwrite=overwrite)
    about = f"CTMaskNet {__version__}, {RESEARCH_USE}"
    metadata: dict[str, dict[str, Any]] = {
        ".pdf": {"Title": title, "Subject": about, "Creator": "CTMaskNet", "CreationDate": None},
        ".png": {"Title": title, "Software": about.replace("–", "-")},
    }
    for target in targets:
        # TrueType: text that can be searched and edited.
        with DRAWING, rc_context({"pdf.fonttype": 42}), atomic_path(target, overwrite=overwrite) as temporary:
            figure.savefig(temporary, format=target.suffix[1:], dpi=DPI, metadata=metadata[target.suffix])
    return targets


_FILLED = Overlays(masks=True, outlines=False, labels=False, boxes=False)
_MAP_NAMES: dict[PaperMaps, str] = {"logits": "Raw mask logits", "probability": "Mask probability"}
_PLOT_NAMES: dict[SmallPlot, str] = {
    "scores": "Scores of the regions",
    "area": "Scores and areas",
    "batch": "Ranked RoI batch",
}


class _Page:
    """A figure of pictures of one size, placed in mm from its upper left corner."""

    def __init__(
        self,
        volume: Volume,
        look: PaperLook,
        shown: Sequence[ShownSlice],
        *,
        width: float,
        beside: int,
        rows: int | None = None,
    ) -> None:
        from matplotlib.figure import Figure

        from model_core.plots.style import THEMES

        self.volume, self.look, self.theme = volume, look, THEMES["light"]
        self.width = width
        self.shape = height, columns = volume.voxels.shape[1:]
        names = _NAME if rows is None else 0.0
        # The plots of a row take a picture's place, with their axis.
        self.side = (width - names - (beside - 1) * _GAP) / beside
        self.high = self.side * height * volume.geometry.pixel_aspect / columns
        self.head = _TEXT_LINE + 1.4
        count = len(shown) if rows is None else rows
        self.below = self.head + count * (self.high + _GAP)
        # Heights are known once the caption is; all is placed from the top before.
        self.figure = Figure(figsize=(width * _MM, 400 * _MM), dpi=DPI, facecolor="white")
        self._placed: list[tuple[Any, tuple[float, float, float, float]]] = []
        self._texts: list[tuple[Any, float, float]] = []

    # ---------------------------------------------------------------------------------- placing

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Return new axes; lengths in mm from the upper left corner."""
        axes = self.figure.add_axes((0.0, 0.0, 1.0, 1.0))
        self._placed.append((axes, (left, top, width, height)))
        self.below = max(self.below, top + height)
        return axes

    def write(self, left: float, top: float, text: str, *, bold: bool = False, **style: Any) -> None:
        """Write a line whose lower left corner is at a place in mm."""
        given = {"fontsize": _TEXT, "color": self.theme.text, "va": "baseline", "ha": "left", **style}
        written = self.figure.text(0, 0, text, fontweight="bold" if bold else "normal", **given)
        self._texts.append((written, left, top))

    def caption(self, text: str) -> None:
        """Write the caption below everything, and give the figure the height that it then has."""
        columns = int(self.width * _PT / (0.52 * _TEXT))
        lines = textwrap.wrap(text, columns)
        top = self.below + 2.5
        for number, line in enumerate(lines):
            self.write(0, top + number * _TEXT_LINE, line)
        height = top + (len(lines) - 1) * _TEXT_LINE + 1.2
        self.figure.set_size_inches(self.width * _MM, height * _MM)
        for axes, (left, upper, wide, high) in self._placed:
            place = (left / self.width, 1 - (upper + high) / height, wide / self.width, high / height)
            axes.set_position(place)
        for written, left, upper in self._texts:
            written.set_position((left / self.width, 1 - upper / height))

    # ---------------------------------------------------------------------------------- pictures

    def picture(self, left: float, top: float, shown: ShownSlice, overlays: Overlays, **more: Any) -> Axes:
        """Draw a slice; the axes have the coordinates of its pixels, flipped as it is shown."""
        scene, (height, width) = self.look.scene, self.shape
        rgb = render_slice(
            self.volume,
            shown.slice_index,
            shown=shown,
            window=scene.window,
            inverted=scene.inverted,
            region_classes=scene.region_classes,
            overlays=overlays,
            text=False,
            scale=max(1.0, _LEAST_SIDE / min(height, width)),
            **more,
        )
        axes = self.axes(left, top, self.side, self.high)
        axes.imshow(rgb, extent=(0, width, height, 0), aspect="auto")
        axes.set_xlim(*((width, 0) if scene.flip_horizontal else (0, width)))
        axes.set_ylim(*((0, height) if scene.flip_vertical else (height, 0)))
        axes.set_axis_off()
        return axes

    def maps(self, left: float, top: float, shown: ShownSlice, limits: tuple[float, float] | None) -> None:
        """Draw the map of the masks over the slice."""
        axes = self.picture(left, top, shown, Overlays(outlines=False, labels=False))
        if limits is not None:
            from matplotlib import colormaps

            height, width = self.shape
            values = np.ma.masked_invalid(_map_of(shown, self.look.maps))
            axes.imshow(
                values, cmap=colormaps["cividis"], vmin=limits[0], vmax=limits[1],
                extent=(0, width, height, 0), aspect="auto", gid="map",
            )  # fmt: skip
            for mask in shown.masks:
                self.outline(axes, mask, SELECTED)

    def outline(self, axes: Axes, mask: BoolArray, colour: str, *, dashed: bool = False) -> None:
        """Draw the outline of a mask as a line."""
        from contourpy import contour_generator

        padded = np.pad(mask, 1).astype(np.float32)
        for line in contour_generator(z=padded).lines(0.5):
            # Pixel centres lie at halves, and the border added one.
            points = np.asarray(line) - 0.5
            axes.plot(
                points[:, 0], points[:, 1], color=colour, linewidth=_LINE,
                linestyle=(0, (3, 1.5)) if dashed else "-", gid="outline",
            )  # fmt: skip

    def detections(self, axes: Axes, shown: ShownSlice, *, clear: bool = False) -> None:
        """Draw outlines, boxes and labels of the detections; ``clear`` of what `orient` draws."""
        from matplotlib.patches import Rectangle

        scene = self.look.scene
        labels = shown.detections.labels
        colours = [scene.region_colour(int(label)) for label in labels]
        for mask, colour in zip(shown.masks, colours, strict=True):
            self.outline(axes, mask, colour)
        for (left, top, right, bottom), colour in zip(shown.detections.boxes, colours, strict=True):
            axes.add_patch(
                Rectangle(
                    (left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=_FINE,
                    linestyle=(0, (4, 2)), gid="box",
                )
            )  # fmt: skip
        self._labels(axes, shown, clear=clear)

    def _labels(self, axes: Axes, shown: ShownSlice, *, clear: bool) -> None:
        """Write class and score of each detection where there is room; of many the score alone."""
        scene, (height, width) = self.look.scene, self.shape
        wide, high = self.side * _PT, self.high * _PT

        def turned(box: Rect) -> Rect:
            left, top, right, bottom = (
                edge * scale for edge, scale in zip(box, (wide / width, high / height) * 2, strict=True)
            )
            if scene.flip_horizontal:
                left, right = wide - right, wide - left
            if scene.flip_vertical:
                top, bottom = high - bottom, high - top
            return left, top, right, bottom

        def texts(label: Label) -> tuple[str, ...]:
            return label.texts[1 if len(shown.detections) <= _MANY else -1 :]

        taken = []
        if clear:
            middle = high / 2
            taken = [(0, middle - 6, 9, middle + 6), (wide - 9, middle - 6, wide, middle + 6)]
            taken += [(0.6 * wide, high - 16, wide, high)]
        shown_as = replace(scene, overlays=Overlays(labels=True), reason=None, selected=None)
        wanted = [
            replace(label, box=turned(label.box), texts=texts(label))
            for label in box_labels(shown.changed(asked=()), shown_as)
        ]
        placed = place_labels(
            wanted, lambda text: (_width(text) + 4, _SMALL + 2), area=(1, 1, wide - 1, high - 1), taken=taken
        )
        for label, text, (left, top, right, bottom) in placed.places:
            axes.text(
                (left + right) / 2 / wide, 1 - (top + bottom) / 2 / high, text, transform=axes.transAxes,
                ha="center", va="center_baseline", fontsize=_SMALL, color="white", gid="label",
                bbox={"facecolor": _PLATE, "edgecolor": label.colour, "linewidth": 0.4, "pad": 0.8},
            )  # fmt: skip

    def orient(self, axes: Axes) -> None:
        """Write the letters at the edges, and draw the scale bar."""
        scene, geometry = self.look.scene, self.volume.geometry
        letters = edge_letters(
            geometry, flip_horizontal=scene.flip_horizontal, flip_vertical=scene.flip_vertical
        )
        places = ((0.02, 0.5, "left", "center"), (0.98, 0.5, "right", "center"))
        for letter, (x, y, ha, va) in zip((letters.left, letters.right), places, strict=True):
            _over(axes, x, y, letter, ha=ha, va=va)
        bar = scale_bar(geometry, self.side / self.shape[1], 0.3 * self.side)
        if bar is not None:
            share, x, y = bar[0] / self.side, 0.97, 0.05
            for colour, line in (("black", 2.2), ("white", 1.0)):
                axes.plot(
                    [x - share, x], [y, y], transform=axes.transAxes, color=colour, linewidth=line,
                    solid_capstyle="butt",
                )  # fmt: skip
            _over(axes, x, y + 0.03, bar[1], ha="right", va="bottom")

    # ------------------------------------------------------------------------------------- words

    def name(self, shown: ShownSlice, top: float) -> None:
        """Write beside a row which slice it is, and what is said of it."""
        text = f"Slice {shown.slice_index + 1}"
        said = said_of(shown, self.look.scene.image_classes, short=True)
        if said and (len(text) + len(said) + 2) * 0.55 * _SMALL < self.high * _PT:
            text += f": {said}"
        self.write(
            _NAME - 1.0, top + self.high / 2, text, rotation=90, ha="right", va="center", fontsize=_SMALL
        )

    def words(self, left: float, shown: ShownSlice, top: float) -> float:
        """Write below a picture what is said of it; return the height in mm that it takes."""
        names = self.look.scene.image_classes
        said = said_of(shown, names, edited=False)
        if _width(said) > self.side * _PT:
            said = said_of(shown, names, short=True, edited=False)
        if not said:
            return 0.0
        self.write(left, top + _TEXT_LINE - 0.8, said, fontsize=_SMALL)
        return _TEXT_LINE

    def legend(self, left: float, top: float) -> None:
        """Name the colours of the classes."""
        scene, at = self.look.scene, left
        for number in range(1, len(scene.region_classes) + 1):
            self.write(at, top + 2.4, "■", fontsize=_SMALL, color=scene.region_colour(number))
            name = scene.region_name(number)
            self.write(at + 2.6, top + 2.4, name, fontsize=_SMALL)
            at += 2.6 + _width(name) / _PT + 3
        self.below = max(self.below, top + 3.8)

    def reference_key(self, left: float, top: float) -> None:
        """Say what the dashed outline is."""
        from matplotlib.lines import Line2D

        key = self.axes(left, top + 0.6, 5, 2)
        key.set_axis_off()
        key.add_patch(_rectangle(key, self.theme.edge))
        key.add_line(
            Line2D(
                [0, 1], [0.5, 0.5], color=REFERENCE, linewidth=1.2, linestyle=(0, (3, 1.5)),
                transform=key.transAxes,
            )
        )  # fmt: skip
        self.write(left + 6, top + 2.4, "reference mask", fontsize=_SMALL)

    def colour_bar(self, left: float, top: float, limits: tuple[float, float]) -> None:
        """Draw the scale of the maps below their column."""
        from matplotlib import colormaps
        from matplotlib.ticker import MaxNLocator

        axes = self.axes(left, top + 0.4, self.side, 1.8)
        axes.imshow(
            np.linspace(0, 1, 256)[None], cmap=colormaps["cividis"], aspect="auto", extent=(*limits, 0, 1)
        )
        axes.set_yticks([])
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=self.look.maps == "logits"))
        axes.tick_params(labelsize=_SMALL, length=2, width=_FINE, pad=1, colors=self.theme.text)
        for spine in axes.spines.values():
            spine.set_linewidth(_FINE)
        name = "mask logit" if self.look.maps == "logits" else "mask probability"
        axes.set_xlabel(name, fontsize=_SMALL, labelpad=1, color=self.theme.text)
        self.below = max(self.below, top + 8)

    def plot(self, place: tuple[float, float, float, float], shown: ShownSlice, *, column: int = 0) -> Axes:
        """Draw the plot of a slice; only the first of several beside each other names its upright axis."""
        from model_core.plots.small import small_plot

        axes = self.axes(*place)
        self.below = max(self.below, place[1] + place[3] + _BELOW)
        small_plot(axes, shown, self.look.plot, top=TOP_RANKS, size=_SMALL, line=_FINE, named=column == 0)
        return axes


def _rectangle(axes: Axes, colour: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((0, 0), 1, 1, transform=axes.transAxes, facecolor=colour, edgecolor="none")


def _over(axes: Axes, x: float, y: float, text: str, **style: Any) -> None:
    """Write white letters with a dark rim over a picture; places are shares of it."""
    from matplotlib.patheffects import withStroke

    axes.text(
        x, y, text, transform=axes.transAxes, color="white", fontsize=_SMALL, gid="over",
        path_effects=[withStroke(linewidth=1.2, foreground="black")], **style,
    )  # fmt: skip


def _width(text: str) -> float:
    """Return how wide a small text is, in points."""
    from matplotlib.textpath import TextPath

    return float(TextPath((0, 0), text, size=_SMALL).get_extents().width) if text.strip() else 0.0


def _map_of(shown: ShownSlice, maps: PaperMaps) -> FloatArray:
    logits: FloatArray = shown.logit_map
    if maps == "logits":
        return logits
    with np.errstate(over="ignore"):
        probability: FloatArray = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return probability


def _map_limits(rows: Sequence[ShownSlice], maps: PaperMaps) -> tuple[float, float] | None:
    """Return the ends of the colours, the same for all rows; None where no mask is shown."""
    found = [limits for row in rows if (limits := row.logit_range) is not None]
    if not found:
        return None
    if maps == "probability":
        return 0.0, 1.0
    low, high = min(low for low, _ in found), max(high for _, high in found)
    ends = max(low, -_LOGIT_END), min(high, _LOGIT_END)
    return ends if ends[0] < ends[1] else (low, high)
