"""A box that a person drew on a slice, and what the network answers where that box is the proposal."""

from __future__ import annotations

from dataclasses import dataclass, field

from model_core.base.arrays import FloatArray

Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class AskedAnswer:
    """What box and mask branch say of one class of an asked region.

    Attributes
    ----------
    label:
        Class index, 1-based.
    score, logit, deltas, box:
        As in `Candidates`: softmax probability, raw logit, encoded dx, dy, dw, dh, and the decoded box in
        pixels of the network behind the class.
    mask_box, mask_logits:
        (28, 28) raw logits and the box in which they lie, in slice pixels; None where the detector has no
        mask of this class for the proposal.
    """

    label: int
    score: float
    logit: float
    deltas: Box
    box: Box
    mask_box: Box | None = None
    mask_logits: FloatArray | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class AskedRegion:
    """A box as proposal, and the answers: one for each positive class, label 1 first.

    ``box`` is what was drawn, in slice pixels, pixel edges; ``proposal`` the same in pixels of the network
    behind the class. The box makes two of them the same: all else follows from it.
    """

    box: Box
    proposal: Box = field(compare=False)
    answers: tuple[AskedAnswer, ...] = field(compare=False)

    @property
    def best(self) -> int:
        """The likeliest of the answers, counted from 0."""
        return max(range(len(self.answers)), key=lambda k: self.answers[k].score)
