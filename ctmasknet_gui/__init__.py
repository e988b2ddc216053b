"""CTMaskNet's window: state, views, one worker, small controllers."""

import os

# Before NumPy comes. The products of the window are small: OpenBLAS takes longer to wake its threads, and the
# window waits for them, than to do without. What the user has set stays.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
