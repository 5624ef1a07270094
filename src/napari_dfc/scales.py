"""At which scales fixed filters look at an image; free of PyTorch, so that memory is foretold without it."""

from __future__ import annotations

import math

__all__ = ["CUT_OFF", "FILTER_RADIUS", "N_FILTERS", "SIGMAS"]

#: Standard deviations of the Gaussians, in pixels.
SIGMAS = (0.5, 1.0, 2.0, 4.0)

#: Responses for each channel of the image: brightness, steepness and two curvatures at each scale.
N_FILTERS = 4 * len(SIGMAS)

#: Standard deviations after which a Gaussian is cut off.
CUT_OFF = 4.0

#: How many pixels away the farthest pixel lies that a response sees: of the widest Gaussian, and two differences.
FILTER_RADIUS = math.ceil(CUT_OFF * max(SIGMAS)) + 2
