"""Rows of planes that are read where they are, as code for numba's compiler: see `vectors`.

A row outside its plane is one of zeros, and of a vector that leaves its row only some lanes are
read: so padding is nowhere laid out.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from arrayconv.backends.numpy.vectors import Vectors, number


class PlaneRows(Vectors):
    """The code of vectors that lie in rows of planes."""

    def row(self, numbers: Any, plane: Any, offset: Any, zeros: Any, column: Any) -> Any:
        """Return where the place ``column`` of a row is, which begins ``offset`` behind a plane.

        An offset below 0 stands for a row of zeros.
        """
        is_outside = self.builder.icmp_signed("<", offset, number(0))
        start = self.at(numbers, plane, offset)
        return self.at(self.builder.select(is_outside, zeros, start), column)

    def seen(self, start: Any, place: int, mask: Any) -> Any:
        """Return the vector at a place of a row: 0 in lanes that are left out."""
        if mask is None:
            return self.load_vector(start, number(place))
        nothing = ir.Constant(self.vector, [0.0] * self.lanes)
        return self.load_lanes(self.at(start, number(place)), mask, nothing)
