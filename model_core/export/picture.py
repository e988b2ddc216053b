"""An annotated picture of one slice: what is on screen, at a chosen scale."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import numpy.typing as npt

from model_core.base.arrays import BoolArray, ByteArray, FloatArray
from model_core.base.errors import SettingsError
from model_core.base.results import RoiRow, ShownAsked, ShownSlice
from model_core.base.voi import apply_window
from model_core.base.volume import Volume
from model_core.export import paint
from model_core.export.look import DARK, Look, LookArguments
from model_core.export.png import RESEARCH_USE
from model_core.export.sampling import PLOTS_SIDE, TEXT_SIDE, Sampling, sampling
from model_core.export.text import TextLayer
from model_core.scene import box_labels, corner_lines, edge_letters
from model_core.scene.labels import Rect, unshown_roi
from model_core.scene.palette import ASKED, EXCLUDED, REFERENCE, SELECTED, WHITE
from model_core.scene.reasons import ReasonArea, reason_areas

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

# Lines are one pixel wide up to this shorter side; wider in proportion above, to stay visible in print.
_LINE_SIDE = 640


def render_slice(
    volume: Volume,
    index: int,
    *,
    shown: ShownSlice | None = None,
    reference: ByteArray | None = None,
    **look: Unpack[LookArguments],
) -> ByteArray:
    """Draw slice ``index`` with its overlays and words.

    Parameters
    ----------
    shown:
        Results of that slice; None draws the slice alone.
    reference:
        (D, H, W) reference labels in display order; their common outline is dashed.
    **look:
        Fields of `model_core.export.look.Look`: window, overlays, region_classes, image_classes, scale, text,
        identity, plots, edited, inverted, flip_horizontal, flip_vertical, smooth, selected, logit_range,
        weights, reason, output.

    Returns
    -------
    (h, w, 3) uint8; every call returns a new array.

    Raises
    ------
    SettingsError
        If the slice does not exist, the results belong to another one, or the scale is out of range.
    """
    style = Look(**look)
    if not 0 <= index < volume.slices:
        raise SettingsError(f"Slice {index} does not exist: the series has slices 0 to {volume.slices - 1}.")
    if shown is not None and shown.slice_index != index:
        raise SettingsError(f"The results are those of slice {shown.slice_index}, not of slice {index}.")
    least = PLOTS_SIDE if style.plots else TEXT_SIDE if style.text else 0
    grid = sampling(volume, scale=style.scale, least_side=least)
    scene = _Scene(volume, index, style, grid)
    rgb = scene.voxels()
    reference_slice = None
    if reference is not None and style.overlays.reference:
        reference_slice = scene.turned(reference[index])
        reference_slice = reference_slice if reference_slice.any() else None
    limits = None
    if shown is not None:
        shown = scene.turned_results(shown)
        limits = scene.paint_results(rgb, shown)
    if reference_slice is not None:
        scene.paint_reference(rgb, reference_slice)
    picture = scene.annotate(rgb, shown, limits, reference=reference_slice is not None)
    if not style.plots or shown is None:
        return picture
    from model_core.export.plots import plot_panel

    panel = plot_panel(shown, height=len(picture), image_classes=style.image_classes, selected=style.selected)
    return np.hstack([picture, panel])


@dataclasses.dataclass(frozen=True, eq=False)
class _Scene:
    """The slice and the way it is drawn."""

    volume: Volume
    index: int
    look: Look
    grid: Sampling

    @property
    def line(self) -> int:
        """Width of lines in picture pixels."""
        return max(1, round(min(self.grid.size) / _LINE_SIDE))

    def turned(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Flip the last two axes of an array as the picture is flipped (a view)."""
        array = array[..., ::-1] if self.look.flip_horizontal else array
        return array[..., ::-1, :] if self.look.flip_vertical else array

    def turned_results(self, shown: ShownSlice) -> ShownSlice:
        """Flip boxes, masks and logit map as the picture is flipped."""
        boxes = self.turned_boxes(shown.detections.boxes)
        rois = shown.rois
        if rois:
            turned = self.turned_boxes(np.array([roi.box for roi in rois], np.float32))
            rois = tuple(
                dataclasses.replace(roi, box=_rect(box)) for roi, box in zip(rois, turned, strict=True)
            )
        return shown.changed(
            rois=rois,
            detections=dataclasses.replace(shown.detections, boxes=boxes),
            masks=self.turned(shown.masks),
            asked=tuple(
                dataclasses.replace(
                    one,
                    drawn=_rect(self.turned_boxes(np.array([one.drawn], np.float32))[0]),
                    mask=None if one.mask is None else self.turned(one.mask),
                )
                for one in shown.asked
            ),
            logit_map=lambda: self.turned(shown.logit_map),
        )

    def turned_boxes(self, boxes: FloatArray) -> FloatArray:
        """Flip (N, 4) boxes as the picture is flipped."""
        height, width = self.grid.shape
        turned = boxes.copy()
        if self.look.flip_horizontal:
            turned[:, [0, 2]] = width - turned[:, [2, 0]]
        if self.look.flip_vertical:
            turned[:, [1, 3]] = height - turned[:, [3, 1]]
        return turned

    def voxels(self) -> ByteArray:
        """Return the slice through its window as RGB."""
        values = self.grid.values(self.turned(self.volume.voxels[self.index]), smooth=self.look.smooth)
        # MONOCHROME1 stores white as the least value; the reader's wish turns that over again.
        inverted = self.look.inverted != self.volume.inverted
        grey = apply_window(values, self.look.window, inverted=inverted)
        return np.repeat(grey[..., None], 3, axis=2)

    def paint_results(self, rgb: ByteArray, shown: ShownSlice) -> tuple[float, float] | None:
        """Paint logit map, mask fills and outlines; return the ends of the colour bar."""
        overlays, limits = self.look.overlays, None
        if overlays.logits:
            limits = self.look.logit_range or shown.logit_range
            if limits is not None:
                paint.paint_logits(rgb, self.grid.nearest(shown.logit_map), limits)
        if overlays.contributions and self.look.reason is not None:
            reason = self.look.reason
            for area in reason_areas(shown, reason, reason.output_of(self.look.output)):
                self._area(rgb, area)
        excluded = shown.excluded
        colours = [self._colour(shown, number, excluded) for number in range(len(shown.masks))]
        if overlays.masks:
            combined, distinct = np.zeros(self.grid.shape, np.uint8), list(dict.fromkeys(colours))
            for mask, colour in zip(shown.masks[::-1], colours[::-1], strict=True):
                combined[mask] = 1 + distinct.index(colour)  # the best detection last, so that it wins
            enlarged = self.grid.nearest(combined)
            for number, colour in enumerate(distinct, start=1):
                paint.fill(rgb, enlarged == number, colour, opacity=overlays.opacity)
        if overlays.outlines:
            for mask, colour in zip(shown.masks[::-1], colours[::-1], strict=True):
                self._outline(rgb, mask, colour)
        for one, _ in self._asked(shown):
            if one.mask is not None:
                self._outline(rgb, one.mask, ASKED)
        return limits

    def _area(self, rgb: ByteArray, area: ReasonArea) -> None:
        left, top, right, bottom = (round(edge) for edge in self._scaled(area.box))
        y, x = slice(max(0, top), max(top + 1, bottom)), slice(max(0, left), max(left + 1, right))
        part = rgb[y, x]
        whole = np.ones(part.shape[:2], np.bool_)
        paint.fill(part, whole, area.colour, opacity=area.fill)
        edge = paint.rim(whole, line=max(1, round(self.line * area.width)))
        paint.fill(part, edge, area.colour, opacity=area.edge)

    def _colour(self, shown: ShownSlice, number: int, excluded: frozenset[int]) -> str:
        """Return the colour of a detection: that of its class, grey where it is out of the evidence."""
        out = int(shown.detections.indices[number]) in excluded
        return EXCLUDED if out else self.look.region_colour(int(shown.detections.labels[number]))

    def _outline(self, rgb: ByteArray, mask: BoolArray, colour: str) -> None:
        patch = self.grid.patch(mask)
        if patch is not None:
            y, x, pixels = patch
            paint.outline(rgb[y, x], pixels, colour, line=self.line)

    def paint_reference(self, rgb: ByteArray, labels: ByteArray) -> None:
        """Paint the dashed outline of the reference, all labels together."""
        patch = self.grid.patch(labels > 0)
        if patch is not None:
            y, x, pixels = patch
            paint.dashed_outline(rgb[y, x], pixels, REFERENCE, line=self.line)

    def annotate(
        self,
        rgb: ByteArray,
        shown: ShownSlice | None,
        limits: tuple[float, float] | None,
        *,
        reference: bool,
    ) -> ByteArray:
        """Draw boxes and words."""
        from PIL import Image, ImageDraw

        image = Image.fromarray(rgb)
        if shown is not None:
            draw = ImageDraw.Draw(image)
            boxes = self.grid.boxes(shown.detections.boxes)
            for number in reversed(range(len(boxes) if self.look.overlays.boxes else 0)):
                self._box(draw, boxes[number], shown, number)
            unshown = unshown_roi(shown, self.look.selected)
            if unshown is not None:
                paint.dashed_box(draw, self._scaled(unshown.box), SELECTED, line=self.line)
            for one, row in self._asked(shown):
                draw.rectangle(_inner(self._scaled(one.drawn)), outline=ASKED)
                paint.dashed_box(draw, self._scaled(row.box), ASKED, line=self.line)
        if self.look.text:
            image = self._words(image, shown, limits, reference=reference)
        return np.array(image)

    def _asked(self, shown: ShownSlice) -> Iterator[tuple[ShownAsked, RoiRow]]:
        """Iterate over what was asked about and is drawn."""
        for one, row in shown.asked_rois():
            if self.look.overlays.findings or one.candidate == self.look.selected:
                yield one, row

    def _is_selected(self, shown: ShownSlice, number: int) -> bool:
        return self.look.selected is not None and int(shown.detections.indices[number]) == self.look.selected

    def _scaled(self, box: Rect) -> Rect:
        return _rect(self.grid.boxes(np.array([box], np.float32))[0])

    def _box(self, draw: ImageDraw, box: FloatArray, shown: ShownSlice, number: int) -> None:
        selected = self._is_selected(shown, number)
        line = self.line * (2 if selected else 1)
        colour = SELECTED if selected else self._colour(shown, number, shown.excluded)
        corners = _inner(_rect(box))
        rim = (corners[0] - 1, corners[1] - 1, corners[2] + 1, corners[3] + 1)
        draw.rectangle(rim, outline=DARK)
        draw.rectangle(corners, outline=colour, width=line)

    def _words(
        self, image: Any, shown: ShownSlice | None, limits: tuple[float, float] | None, *, reference: bool
    ) -> Any:
        """Write on the picture; return it with what is said of the scan under it."""
        look = self.look
        corners = corner_lines(self.volume, self.index, look, shown, reference=reference)
        layer = TextLayer(image, corners, footer=RESEARCH_USE)
        layer.side_letters(
            edge_letters(
                self.volume.geometry,
                flip_horizontal=look.flip_horizontal,
                flip_vertical=look.flip_vertical,
            )
        )
        layer.scale_bar(self.volume.geometry, self.grid.scale[0])
        if limits is not None:
            rule = shown.detections.settings.logit_rule if shown is not None else "max"
            _colour_bar(layer, limits, title="mask logit" if rule == "max" else "sum of mask logits")
        if shown is not None:
            layer.labels(
                [dataclasses.replace(label, box=self._scaled(label.box)) for label in box_labels(shown, look)]
            )
        return layer.with_lines_below(corners.below)


def _inner(box: Rect) -> tuple[int, int, int, int]:
    """Return the first and the last pixel in a box of pixel edges."""
    left, top, right, bottom = (round(edge) for edge in box)
    return left, top, max(left, right - 1), max(top, bottom - 1)


def _rect(box: FloatArray) -> Rect:
    left, top, right, bottom = (float(edge) for edge in box)
    return left, top, right, bottom


def _colour_bar(layer: TextLayer, limits: tuple[float, float], *, title: str) -> None:
    """Draw the scale of the logit map at the right side, the greatest logit on top."""
    width, height = layer.image.size
    bar_width, bar_height = max(8, round(layer.size * 0.8)), round(height * 0.26)
    right = width - 2 * layer.margin - round(2 * layer.size)
    left, top = right - bar_width, round((height - bar_height) / 2)
    colours = paint.logit_colours()[np.linspace(255, 0, bar_height).astype(int)]
    from PIL import Image

    strip = np.ascontiguousarray(np.repeat(colours[:, None], bar_width, axis=1))
    layer.draw.rectangle((left - 1, top - 1, right, top + bar_height), fill=DARK)
    layer.image.paste(Image.fromarray(strip), (left, top))
    low, high = (f"{value:+.1f}".replace("-", "−") for value in limits)
    # Beyond the ends the colours say no more than that.
    texts = ((title, -2), (f"≥ {high}", -1), (f"≤ {low}", 0))
    for text, row in texts:
        extent = layer.width(text)
        y = top + row * layer.line_height - 2 if row < 0 else top + bar_height + 2
        x = right - extent
        layer.write(x, y, text)
        layer.reserve((x, y, right, y + layer.line_height))
    zero = top + bar_height * limits[1] / (limits[1] - limits[0])
    if top + layer.line_height <= zero <= top + bar_height - layer.line_height:
        layer.draw.line((left - 4, zero, left - 1, zero), fill=WHITE)
        beside, level = left - 7 - layer.width("0"), zero - layer.line_height / 2
        layer.write(beside, level, "0")
        layer.reserve((beside, level, left, level + layer.line_height))
    layer.reserve((left - 2, top - 2, right + 2, top + bar_height + 2))
