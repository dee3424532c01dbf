"""The lecture's worked example: an image, two filters, and the maps that a bias of 1 gives."""

from __future__ import annotations

import numpy as np

LECTURE = np.array(
    [
        [7, 6, 8, 5, 1, 3],
        [8, 6, 5, 3, 5, 5],
        [9, 1, 1, 5, 3, 5],
        [4, 5, 5, 9, 2, 6],
        [9, 5, 3, 1, 2, 2],
        [4, 4, 8, 8, 9, 8],
    ]
).reshape(1, 1, 6, 6)
FILTERS = np.array(
    [[[1, 1, 0], [-1, 1, -1], [0, -1, -1]], [[1, 1, 0], [-1, 1, -1], [-1, 0, -1]]]
).reshape(2, 1, 3, 3)
MAPS = np.array(
    [
        [[5, 5, -1, -4], [-4, -7, -1, -6], [-1, -10, 6, -8], [-9, -8, -6, -6]],
        [[-3, 5, 3, -6], [-3, -7, 3, -13], [-5, -12, 4, -7], [-9, -4, -6, -5]],
    ]
)[None]
