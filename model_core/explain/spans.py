"""Masks as runs of pixels along the rows: areas, unions and touching masks are counted from these.

A hundred masks of a slice are a few thousand runs, where their pictures are 30 MB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from model_core.base.arrays import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Spans:
    """The runs of n masks in a slice of ``shape`` (H, W): by mask, then by row, then by column.

    Attributes
    ----------
    starts, ends:
        (R,) int64: the first pixel of a run and the one behind its last, as ``row * (W + 1) + column``. So a
        row has one place more than it has pixels, and runs of two rows never meet.
    owner:
        (R,) the mask of each run, in 0..n-1.
    """

    starts: IntArray
    ends: IntArray
    owner: IntArray
    count: int
    shape: tuple[int, int]

    @classmethod
    def of(cls, masks: BoolArray) -> Spans:
        """Return those of (n, H, W) masks."""
        count, height, width = masks.shape
        around = np.zeros((count, height, width + 2), np.bool_)
        around[:, :, 1:-1] = masks
        changes = np.flatnonzero(around[:, :, 1:] != around[:, :, :-1])
        size = height * (width + 1)
        owner, places = changes[::2] // max(size, 1), changes % max(size, 1)
        return cls(places[::2], places[1::2], owner, count, (height, width))

    @classmethod
    def joined(cls, runs: Sequence[npt.NDArray[np.int32]], shape: tuple[int, int]) -> Spans:
        """Return the masks of which these are the (2, R) starts and ends."""
        together = np.concatenate([np.zeros((2, 0), np.int64), *runs], axis=1)
        owner = np.repeat(np.arange(len(runs)), [own.shape[1] for own in runs])
        return cls(together[0], together[1], owner, len(runs), shape)

    @property
    def bounds(self) -> IntArray:
        """(n + 1,) where the runs of each mask begin, and where the last ones end."""
        return np.searchsorted(self.owner, np.arange(self.count + 1))

    @property
    def lengths(self) -> IntArray:
        """(R,) pixels of each run."""
        return self.ends - self.starts

    def masks(self) -> BoolArray:
        """Return the (n, H, W) masks."""
        height, width = self.shape
        masks = np.zeros((self.count, height, width), np.bool_)
        rows, columns = np.divmod(self.starts, width + 1)
        masks.reshape(-1)[spread((self.owner * height + rows) * width + columns, self.lengths)] = True
        return masks

    def areas(self) -> IntArray:
        """Return the (n,) pixels of each mask."""
        return np.bincount(self.owner, self.lengths, self.count).astype(np.int64)

    def boxes(self) -> FloatArray:
        """Return the (n, 4) boxes of the pixels, in pixel edges; zeros where a mask has none."""
        rows, left = np.divmod(self.starts, self.shape[1] + 1)
        right = left + self.lengths
        first = np.flatnonzero(np.diff(self.owner, prepend=-1))
        boxes = np.zeros((self.count, 4), np.float32)
        if len(first):
            edges = (
                np.minimum.reduceat(left, first),
                np.minimum.reduceat(rows, first),
                np.maximum.reduceat(right, first),
                np.maximum.reduceat(rows, first) + 1,
            )
            boxes[self.owner[first]] = np.stack(edges, axis=1)
        return boxes

    def followed_by(self, count: int) -> Spans:
        """Return the masks, and so many empty ones after them."""
        return Spans(self.starts, self.ends, self.owner, self.count + count, self.shape)

    def chosen(self, runs: BoolArray) -> Spans:
        """Return the masks with these of their runs only."""
        return Spans(self.starts[runs], self.ends[runs], self.owner[runs], self.count, self.shape)

    def union(self) -> Spans:
        """Return one mask: the pixels that any has."""
        order = np.argsort(self.starts, kind="stable")
        starts, ends = self.starts[order], np.maximum.accumulate(self.ends[order])
        begins = np.ones(len(starts), np.bool_)
        begins[1:] = starts[1:] > ends[:-1]
        firsts = np.flatnonzero(begins)
        lasts = np.append(firsts[1:], len(starts)) - 1
        nobody = np.zeros(len(firsts), np.int64)
        return Spans(starts[firsts], ends[lasts] if len(firsts) else ends[:0], nobody, 1, self.shape)

    def pieces(self) -> tuple[IntArray, int]:
        """Return the (R,) number of the 8-connected piece that each run is of, and how many pieces there are.

        Pieces of two masks are two.
        """
        stride = self.shape[1] + 1
        # Two empty rows between the masks.
        apart = self.owner * ((self.shape[0] + 2) * stride)
        starts, ends = self.starts + apart, self.ends + apart
        # Of each run, those of the row before it that it meets, over a corner too.
        first = np.searchsorted(ends, starts - stride)
        met = np.maximum(np.searchsorted(starts, ends - stride, side="right") - first, 0)
        above, size = spread(first, met), len(starts)
        # In the form that scipy works on: another is converted, which takes longer than the rest.
        rows = np.concatenate(([0], np.cumsum(met)))
        graph = csr_array((np.ones(len(above)), above, rows), shape=(size, size))
        count, numbers = connected_components(graph, directed=False)
        return numbers.astype(np.int64), int(count)


def spread(starts: IntArray, lengths: IntArray) -> IntArray:
    """Return the whole numbers from each start on, as many as its length, one run after the other."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(starts - ends + lengths, lengths)
