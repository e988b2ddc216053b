"""Tolerances and limits of the readers: one place, with the reason of each number.

Lengths are relative to the step or pixel they are compared with, never absolute to the last digit:
DICOM decimal strings are rounded, so equal geometry differs by 1e-6 and more in practice.
"""

from __future__ import annotations

# Two directions are the same when every cosine differs by less (about 0.06 degrees).
DIRECTION_TOLERANCE = 1e-3

# A direction of a file is usable when its length and its right angle are this exact.
COSINE_TOLERANCE = 1e-2

# Two pixel spacings are the same when they differ by less than this part.
SPACING_TOLERANCE = 1e-3

# A pixel longer or higher than this many times its other side is none: its stated shape is not believed.
MAX_ASPECT = 100.0

# Slices lie at one position when their distance is less than this part of the typical step ...
SAME_POSITION = 0.01
# ... or, where there is no typical step, this many millimetres.
SAME_POSITION_MM = 1e-3

# Slices off the even grid by less than this part of the step are even (rounding of decimal strings).
EVEN_STEP = 0.02
# Up to this part the mean step is used and the deviation is told; above, the step is unknown.
ALMOST_EVEN_STEP = 0.1

# Sideways shift per unit of travel along the normal above which a stack is sheared (0.3 degrees).
SHEAR_TOLERANCE = 5e-3

# The steepest shear that is corrected (45 degrees): gantries tilt by 30, more is no tilt but wrong positions.
MAX_SHEAR = 1.0

# A slice is shifted against the others when it lies this many pixels beside the line that they follow.
SHIFT_PIXELS = 0.5

# Farthest that a slice may lie from the origin of its frame of reference; beyond, it counts as nowhere.
MAX_POSITION_MM = 1e5

# A plane is oblique when its normal is farther than 45 degrees from every patient axis is impossible,
# so the limit is set where gantry tilt (at most 30 degrees) still counts as axial.
OBLIQUE_COSINE = 0.82

# CT without any value below this and without a negative intercept is not in Hounsfield units.
AIR_HU = -200.0
AIR_INTERCEPT = -500.0

# Value of the pixels outside the scanner's field of view in a volume of Hounsfield units.
PADDING_HU = -1024

# The largest plain picture or declared frame that is opened, in pixels (a whole-slide tile is smaller).
MAX_FRAME_PIXELS = 1 << 28
# The most a compressed file may grow: above it, its declared size is taken for wrong.
MAX_EXPANSION = 5000
# Most frames that one file may declare.
MAX_FRAMES = 100_000
# Longest time that the header of one file may take, in seconds.
HEADER_SECONDS = 10.0
# Most bytes that a deflated DICOM file may grow to.
MAX_INFLATED_BYTES = 1 << 30

# A ZIP archive: most files, most bytes unpacked, most growth, and the size below which growth is harmless.
MAX_ARCHIVE_FILES = 20_000
MAX_ARCHIVE_BYTES = 16 << 30
MAX_ARCHIVE_GROWTH = 200
SMALL_ARCHIVE_BYTES = 256 << 20
