"""Text on a picture: corner blocks, side letters and box labels that never cover each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from model_core.base.geometry import Geometry
from model_core.export.look import DARK
from model_core.scene import Corners, EdgeLetters, Label, Line, Rect, place_labels
from model_core.scene.palette import AMBER, INK, LETTER, SELECTED, WHITE
from model_core.scene.scale import SCALE_SHARE, scale_bar

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageFont import FreeTypeFont

Corner = Literal["top left", "top right", "bottom left", "bottom right"]

_LEAST, _GREATEST = 9, 40
# Box labels are smaller than the corners, so that they cover less of the picture.
_LABEL_SHARE = 0.75
# Brightness that a plate leaves of the picture under it.
_PLATE = 0.3
# All text gets a plate where more than this share of what lies under it is this bright; box labels always.
_BRIGHT, _BRIGHT_SHARE = 120, 0.1


@lru_cache(maxsize=64)
def font(size: int, *, bold: bool = False) -> FreeTypeFont:
    """Return DejaVu Sans, which travels with matplotlib, so that pictures look alike everywhere."""
    import matplotlib as mpl
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(mpl.get_data_path(), "fonts", "ttf", name)), size)


class TextLayer:
    """Writes on an RGB picture and keeps account of the places taken.

    Parameters
    ----------
    image:
        Written on in place.
    corners:
        The size of text is the largest at which they leave each other room.
    footer:
        A line of its own along the bottom.
    """

    def __init__(self, image: Image.Image, corners: Corners, *, footer: str = "") -> None:
        from PIL import ImageDraw

        self.image = image
        self.draw = ImageDraw.Draw(image)
        self.taken: list[Rect] = []
        blocks: dict[Corner, tuple[Line, ...]] = {
            "top left": corners.top_left,
            "top right": corners.top_right,
            "bottom left": corners.bottom_left,
            "bottom right": corners.bottom_right,
        }
        self._blocks = {corner: lines for corner, lines in blocks.items() if lines}
        self._footer = footer
        self.size = self._fitting_size()
        self.margin = max(4, self.size // 2)
        self._write_footer()
        for corner, lines in self._blocks.items():
            self._write_block(corner, lines)

    @property
    def line_height(self) -> int:
        """Distance of lines in pixels."""
        return round(self.size * 1.3)

    # --------------------------------------------------------------------------------- single texts

    def write(self, x: float, y: float, text: str, colour: str = WHITE, *, bold: bool = False) -> None:
        """Write text with its top left corner at (x, y), legible on bright and dark tissue alike."""
        rect = (x - 2, y - 1, x + self.width(text, bold=bold) + 2, y + self.line_height - 1)
        if self._bright_share(rect) > _BRIGHT_SHARE:
            self._plate(rect)
        self.draw.text(
            (x, y),
            text,
            fill=colour,
            font=font(self.size, bold=bold),
            stroke_width=max(1, round(self.size / 9)),
            stroke_fill=DARK,
        )

    def width(self, text: str, *, bold: bool = False) -> float:
        """Return the width of text in pixels, without its rim."""
        return float(font(self.size, bold=bold).getlength(text))

    def side_letters(self, letters: EdgeLetters) -> None:
        """Write the orientation letters in the middle of the sides."""
        left, right, top, bottom = letters
        width, height = self.image.size
        floor = height - self.margin - (self.line_height if self._footer else 0)
        spots = (
            (left, self.margin, (height - self.line_height) / 2),
            (right, width - self.margin - self.width(right, bold=True), (height - self.line_height) / 2),
            (top, (width - self.width(top, bold=True)) / 2, self.margin),
            (bottom, (width - self.width(bottom, bold=True)) / 2, floor - self.line_height),
        )
        for text, x, y in spots:
            if text:
                self.write(x, y, text, LETTER, bold=True)
                self.reserve((x, y, x + self.width(text, bold=True), y + self.line_height))

    def scale_bar(self, geometry: Geometry, pixel: float) -> None:
        """Draw a bar of a round length above the lower right corner block; nothing where unknown.

        ``pixel`` is the width of a slice pixel in picture pixels.
        """
        width, height = self.image.size
        bar = scale_bar(geometry, pixel, width * SCALE_SHARE)
        if bar is None:
            return
        length, text = bar
        block = [rect for rect in self.taken if rect[0] > width / 2 and rect[1] > height / 2]
        floor = min((rect[1] for rect in block), default=float(height)) - self.size / 2
        right, thick, tick = width - self.margin, max(1, self.size // 10), max(3, self.size // 3)
        extent = self.width(text)
        top = floor - tick - self.line_height
        self.write(right - max(extent, (length + extent) / 2), top, text)
        strokes = (
            (right - length, floor - tick / 2 - thick, right, floor - tick / 2),
            (right - length, floor - tick, right - length + thick, floor),
            (right - thick, floor - tick, right, floor),
        )
        for grown, colour in ((1, DARK), (0, WHITE)):
            for x1, y1, x2, y2 in strokes:
                rect = (round(x1) - grown, round(y1) - grown, round(x2) + grown, round(y2) + grown)
                self.draw.rectangle(rect, fill=colour)
        self.reserve((right - max(extent, length) - 2, top, right + 2, floor + 1))

    def labels(self, labels: Sequence[Label]) -> None:
        """Write labels where there is room inside the picture; a note says how many are left out."""
        size = max(_LEAST + 1, round(_LABEL_SHARE * self.size))
        height, border = round(1.3 * size), max(2, size // 3)
        edge = self.margin / 2
        area = (edge, edge, self.image.size[0] - edge, self.image.size[1] - edge)

        def measure(text: str) -> tuple[float, float]:
            return float(font(size).getlength(text)) + 3 * border, float(height + 2)

        placed = place_labels(labels, measure, area=area, taken=self.taken)
        for label, text, (left, top, right, bottom) in placed.places:
            self._plate((left, top, right, bottom))
            plate = (round(left), round(top), round(right) - 1, round(bottom) - 1)
            if label.selected:
                self.draw.rectangle(plate, fill=SELECTED, outline=DARK)
            self.draw.rectangle((plate[0], plate[1], plate[0] + border - 1, plate[3]), fill=label.colour)
            ink = INK if label.selected else WHITE
            self.draw.text((plate[0] + 2 * border, plate[1] + 1), text, fill=ink, font=font(size))
            self.reserve((left, top, right, bottom))
        if placed.left_out:
            self.note(f"{placed.left_out} label{'s' * (placed.left_out != 1)} left out")

    def note(self, text: str, colour: str = WHITE) -> None:
        """Write a line at the left side below the corner block, lower where that is taken."""
        y = float(self.margin)
        while y < self.image.size[1] - self.line_height:
            rect = (self.margin, y, self.margin + self.width(text), y + self.line_height)
            if self._free(rect):
                self.write(self.margin, y, text, colour)
                self.reserve(rect)
                return
            y += self.line_height

    def with_lines_below(self, lines: Sequence[Line]) -> Image.Image:
        """Return the picture with these lines under it, broken where they are too long."""
        from PIL import Image, ImageDraw

        width, height = self.image.size
        room = width - 2 * self.margin
        broken = [
            replace(line, text=text, swatch=line.swatch if first else "")
            for line in lines
            for first, text in self._broken(line, room - self._mark(line))
        ]
        if not broken:
            return self.image
        foot = round(self.margin + len(broken) * self.line_height)
        whole = Image.new("RGB", (width, height + foot), DARK)
        whole.paste(self.image, (0, 0))
        self.image = whole
        self.draw = ImageDraw.Draw(whole)
        for row, line in enumerate(broken):
            self._write_line(self.margin, height + self.margin / 2 + row * self.line_height, line)
        return whole

    def _broken(self, line: Line, room: float) -> Iterator[tuple[bool, str]]:
        """Yield a line in parts that fit, and of each whether it is the first."""
        whole, text, first = line.text, "", True
        for word in whole.split():
            longer = f"{text} {word}".strip()
            if text and self.width(longer, bold=line.bold) > room:
                yield first, text
                longer, first = word, False
            text = longer
        yield first, self._cut(text, room, bold=line.bold)

    def reserve(self, rect: Rect) -> None:
        """Keep text out of a rectangle."""
        self.taken.append(rect)

    # -------------------------------------------------------------------------------------- inside

    def _area(self, rect: Rect) -> tuple[int, int, int, int]:
        width, height = self.image.size
        left, top, right, bottom = (round(edge) for edge in rect)
        return max(left, 0), max(top, 0), min(right, width), min(bottom, height)

    def _bright_share(self, rect: Rect) -> float:
        counts = self.image.crop(self._area(rect)).convert("L").histogram()
        return sum(counts[_BRIGHT:]) / max(1, sum(counts))

    def _plate(self, rect: Rect) -> None:
        """Darken what lies under text: a rim alone does not make it legible on bright tissue."""
        area = self._area(rect)
        dark = self.image.crop(area).point(lambda value: value * _PLATE)
        self.image.paste(dark, area[:2])

    def _free(self, rect: Rect) -> bool:
        x1, y1, x2, y2 = rect
        if x1 < 0 or y1 < 0 or x2 > self.image.size[0] or y2 > self.image.size[1]:
            return False
        return all(x2 <= a1 or a2 <= x1 or y2 <= b1 or b2 <= y1 for a1, b1, a2, b2 in self.taken)

    def _fitting_size(self) -> int:
        """Return the largest size at which no block reaches the middle of a side.

        Text shrinks by no more than a quarter for that; longer lines are cut.
        """
        width, height = self.image.size
        preferred = min(_GREATEST, max(12, round(math.sqrt(width * height) / 42)))
        least = max(_LEAST, round(0.75 * preferred))
        for size in range(preferred, least - 1, -1):
            self.size = size
            room = width / 2 - 2.5 * size
            lines = [line for block in self._blocks.values() for line in block]
            widest = max((self._line_width(line) for line in lines), default=0.0)
            most = max((len(lines) for lines in self._blocks.values()), default=0)
            if widest <= room and (most + 2) * self.line_height <= height / 2:
                return size
        return least

    def _line_width(self, line: Line) -> float:
        return self.width(line.text, bold=line.bold) + self._mark(line)

    def _mark(self, line: Line) -> float:
        """Return the room before a line's text."""
        return 1.3 * self.size if line.swatch else 0.3 * self.size if line.patch else 0.0

    def _write_footer(self) -> None:
        if not self._footer:
            return
        width, height = self.image.size
        full = self.size
        while self.size > _LEAST and self.width(self._footer) > width - 2 * self.margin:
            self.size -= 1
        text = self._cut(self._footer, width - 2 * self.margin)
        y = height - self.margin / 2 - self.line_height
        self.write((width - self.width(text)) / 2, y, text, WHITE)
        self.size = full
        self.reserve((0, y, width, height))

    def _write_block(self, corner: Corner, lines: Sequence[Line]) -> None:
        width, height = self.image.size
        room = width / 2 - 2 * self.size
        top = self.margin
        if corner.startswith("bottom"):
            foot = self.line_height + self.margin / 2 if self._footer else self.margin
            top = round(height - foot - len(lines) * self.line_height)
        for row, line in enumerate(lines):
            mark = self._mark(line)
            text = self._cut(line.text, room - mark, bold=line.bold)
            extent = self.width(text, bold=line.bold) + mark * (2 if line.patch else 1)
            x = self.margin if corner.endswith("left") else width - self.margin - extent
            y = top + row * self.line_height
            self._write_line(x, y, replace(line, text=text))
            self.reserve((x - 2, y, x + extent + 2, y + self.line_height))

    def _write_line(self, x: float, y: float, line: Line) -> None:
        mark = self._mark(line)
        if line.swatch:
            self._swatch(x, y, line)
        if line.patch:
            extent = self.width(line.text, bold=line.bold) + 2 * mark
            self.draw.rectangle((x, y, x + extent, y + self.line_height - 2), fill=AMBER)
            self.draw.text((x + mark, y), line.text, fill=INK, font=font(self.size, bold=line.bold))
        else:
            self.write(x + mark, y, line.text, line.colour, bold=line.bold)

    def _swatch(self, x: float, y: float, line: Line) -> None:
        left, right = round(x), round(x + self.size)
        top, bottom = round(y + 0.25 * self.size), round(y + self.size)
        if not line.dashed:
            self.draw.rectangle((left, top, right, bottom), fill=line.swatch, outline=DARK)
            return
        middle, thick = (top + bottom) // 2, max(1, self.size // 10)
        self.draw.rectangle((left - 1, middle - thick, right + 1, middle + 2 * thick), fill=DARK)
        third = (right - left) / 3
        for start in (left, right - third):
            self.draw.rectangle((start, middle, start + third, middle + thick), fill=line.swatch)

    def _cut(self, text: str, room: float, *, bold: bool = False) -> str:
        if self.width(text, bold=bold) <= room:
            return text
        while text and self.width(text + "…", bold=bold) > room:
            text = text[:-1]
        return text.rstrip() + "…"
