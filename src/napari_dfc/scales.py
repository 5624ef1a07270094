"""At which scales fixed filters look at an image; free of PyTorch, so that memory is foretold without it."""

from __future__ import annotations

__all__ = ["N_FILTERS", "SIGMAS"]

#: Standard deviations of the Gaussians, in pixels.
SIGMAS = (0.5, 1.0, 2.0, 4.0)

#: Responses for each channel of the image: brightness, steepness and two curvatures at each scale.
N_FILTERS = 4 * len(SIGMAS)
