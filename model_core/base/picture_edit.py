"""A slice whose picture was changed, and what the networks then say: values for explanation and window.

Such results tell about the network, not about the patient; they are never those of the slice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from model_core.base.arrays import BoolArray, FloatArray, VoxelArray
from model_core.base.asked import Box
from model_core.base.results import ILL_PROBABILITY, ShownSlice

PictureEditKind = Literal["heal", "plant"]
# Sham heals that an effect is compared with.
SHAMS = 8
# Ground glass, in HU (Hansell et al. 2008: vessels are seen through it), and what is planted unless told.
GROUND_GLASS_HU, PLANTED_HU = (-600.0, -400.0), -500.0
# Regions are the same where boxes have at least this IoU; one that scores less than this is background.
SAME_IOU, BACKGROUND_SCORE = 0.5, 0.05
ABOUT_THE_NETWORK = "This tells about the network, not about the patient: no such picture was ever taken."


@dataclass(frozen=True)
class PictureRequest:
    """What is to be changed in a slice.

    Attributes
    ----------
    regions:
        Rank and box, in slice pixels, of regions whose lesions are to be healed.
    polygon:
        Corners (x, y) of a drawn area, in slice pixels; empty where regions are given.
    level_hu:
        Of planted ground glass.
    """

    kind: PictureEditKind
    regions: tuple[tuple[int, Box], ...] = ()
    polygon: tuple[tuple[float, float], ...] = ()
    level_hu: float = PLANTED_HU


@dataclass(frozen=True, eq=False)
class EditedPicture:
    """A changed slice, before anything runs on it.

    Attributes
    ----------
    what:
        What was changed, in words: "the lesion of region 1", "a drawn area".
    before, after:
        (H, W) voxels of the slice as it is, and changed.
    area:
        (H, W) what was filled, its soft edge included.
    pieces:
        Of how many donors the filling was put together; 0 of what was planted.
    level_hu:
        Of planted ground glass; None of what was healed.
    """

    kind: PictureEditKind
    slice_index: int
    what: str
    before: VoxelArray
    after: VoxelArray
    area: BoolArray
    pieces: int
    level_hu: float | None = None

    @property
    def done(self) -> str:
        """What was done, in words."""
        return f"{'Healed' if self.kind == 'heal' else 'Planted ground glass in'} {self.what}"


@dataclass(frozen=True, eq=False)
class PictureOutcome:
    """What the networks say of one picture.

    Attributes
    ----------
    logits, probabilities:
        (C,) of the image classes.
    output:
        Logit of "ill or not"; of weights without a calibration, of the class that is likeliest before.
    probability:
        What that logit means, see `base.reasons.output_probability`.
    lesion_px, lesion_mm2:
        Marked area; None where the size of pixels is unknown.
    """

    logits: FloatArray
    probabilities: FloatArray
    output: float
    probability: float
    lesion_px: int
    lesion_mm2: float | None

    @property
    def verdict(self) -> bool:
        """Whether what ``output`` stands for is likelier than not."""
        return self.probability > ILL_PROBABILITY


@dataclass(frozen=True)
class RegionChange:
    """One region of the evidence before and after.

    Attributes
    ----------
    label:
        Its class.
    box_before, box_after, score_before, score_after:
        None where no region has an IoU of at least `SAME_IOU` with it.
    inside:
        Whether it overlaps what was changed.
    """

    label: str
    box_before: Box | None
    box_after: Box | None
    score_before: float | None
    score_after: float | None
    inside: bool

    @property
    def fate(self) -> Literal["gone", "new", "changed"]:
        """What became of it: below `BACKGROUND_SCORE` there is no region."""
        if (self.score_after or 0.0) < BACKGROUND_SCORE:
            return "gone"
        return "new" if (self.score_before or 0.0) < BACKGROUND_SCORE else "changed"

    @property
    def where(self) -> str:
        """Where it lies, in words."""
        return "in the changed area" if self.inside else "elsewhere"


@dataclass(frozen=True, eq=False)
class PictureEffect:
    """A slice as it is and changed, and sham heals to compare the effect with.

    Attributes
    ----------
    target:
        What `PictureOutcome.output` stands for: "ill", or a class.
    shown_before, shown_after:
        What is drawn over the pictures.
    regions:
        What became of every region that is no background in one of the two, best first.
    shams, sham_areas:
        Outcomes of heals of the same shape in unmarked lung, and where.
    wanted:
        How many shams there are to be: fewer than `SHAMS` where no more fit.
    seed:
        Of the places of the shams.
    """

    edited: EditedPicture
    target: str
    before: PictureOutcome
    after: PictureOutcome
    shown_before: ShownSlice
    shown_after: ShownSlice
    regions: tuple[RegionChange, ...]
    shams: tuple[PictureOutcome, ...]
    sham_areas: tuple[BoolArray, ...]
    wanted: int
    seed: int

    @property
    def change(self) -> float:
        """By how much the logit of the target changes."""
        return self.after.output - self.before.output

    @property
    def sham_changes(self) -> tuple[float, ...]:
        """The same of each sham."""
        return tuple(sham.output - self.before.output for sham in self.shams)

    @property
    def complete(self) -> bool:
        """Whether all shams have run."""
        return len(self.shams) == self.wanted

    @property
    def beyond_shams(self) -> bool | None:
        """Whether the change is larger than that of every sham; None without shams, or before all ran."""
        if not self.complete or not self.shams:
            return None
        return abs(self.change) > max(abs(change) for change in self.sham_changes)

    @property
    def verdict_changed(self) -> bool:
        """Whether the target is likelier than not before and not after, or the other way round."""
        return self.before.verdict != self.after.verdict

    @property
    def sham_verdicts_changed(self) -> int:
        """How many shams change it, too."""
        return sum(sham.verdict != self.before.verdict for sham in self.shams)
