"""prepare: a convolution whose weight is transformed once, for many inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from arrayconv._arrays import Array, library_of
from arrayconv.functional.convolution import conv1d, conv2d, conv3d
from arrayconv.functional.operations import check_arguments, operation_of
from arrayconv.functional.weights import with_bias

_CONVOLUTIONS: tuple[Callable[..., Array], ...] = (conv1d, conv2d, conv3d)


class Prepared:
    """A convolution by one weight; call it with an input. Made by `arrayconv.prepare`.

    Attributes
    ----------
    function : callable
        The convolution.
    weight, bias : array
        Copies of those that it was made of; the bias may be None.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> ac.prepare(ac.conv2d, np.ones((4, 3, 3, 3)), padding=1)
    <conv2d by a weight (4, 3, 3, 3), padding=1>
    """

    def __init__(
        self, function: Callable[..., Array], params: dict[str, Any], weight: Array, bias: Array
    ) -> None:
        self.function = function
        self._params = params
        self.weight, self.bias = weight, bias
        self._ready: dict[str, tuple[Array, Callable[..., Array]]] = {}

    def __call__(self, input: Array) -> Array:
        """Return the convolution of an input, as the function would."""
        return self.run(input, self.weight, self.bias)

    def run(self, input: Array, weight: Array, bias: Array | None) -> Array:
        """Return the convolution by a weight; what was prepared is used if it was for those values.

        A weight that is not the very array that was prepared is compared with a copy of that.
        """
        call = operation_of(self.function, "prepare").call
        assert call is not None
        primitive, arguments, algorithm = call(input, weight, bias, **self._params)
        chosen = primitive.choose(algorithm, *arguments, prepared=True)
        x, _, window, groups = arguments
        if chosen.prepare is None:
            output = with_bias(chosen, chosen.run, arguments, bias)
        else:
            held = self._ready.get(chosen.name)
            if held is None or not self._holds(held[0], weight):
                xp = library_of("weight", weight).xp
                own = weight if weight is self.weight else xp.asarray(weight, copy=True)
                held = self._ready[chosen.name] = own, chosen.prepare(own, groups)
            output = with_bias(chosen, held[1], (x, window), bias)
        return output[0, ...] if input.ndim < weight.ndim else output

    def _holds(self, own: Array, weight: Array) -> bool:
        """Whether what was prepared is of these values."""
        if own is weight:
            return True
        xp = library_of("weight", weight).xp
        return own.shape == weight.shape and bool(xp.all(own == weight))

    def __repr__(self) -> str:
        """Show the function, the weight's shape and the arguments."""
        shape, arguments = tuple(self.weight.shape), self._params
        extra = "".join(f", {name}={value!r}" for name, value in arguments.items())
        return f"<{self.function.__name__} by a weight {shape}{extra}>"

    def __getstate__(self) -> dict[str, Any]:
        """Return what is copied and pickled: not what was prepared, which is made again."""
        return {**self.__dict__, "_ready": {}}


def prepare(
    function: Callable[..., Array], weight: Array, bias: Array | None = None, **params: Any
) -> Prepared:
    """Make a convolution by one weight ready for many inputs.

    Some algorithms transform the weight first, which for many channels and small images takes as
    long as the convolution. Here that is done at the first call that needs it, and kept; but where
    the transformed weight is so large that to read it takes longer, it is made anew each time.

    Parameters
    ----------
    function : callable
        ``arrayconv.conv1d``, ``conv2d`` or ``conv3d``.
    weight : array
        Copied: a later change of the array has no effect.
    bias : array, optional
        Copied too.
    **params
        The function's other arguments, by name.

    Returns
    -------
    callable
        ``prepared(input)`` is ``function(input, weight, bias, **params)``, but for the rounding
        where another algorithm is now the fastest; inputs may differ in size. A transformed weight
        takes up to four times the memory of the weight.

    Raises
    ------
    TypeError
        Where the function is another, or has no such parameter. What is wrong with the arrays
        shows when an input comes.

    Examples
    --------
    >>> import numpy as np, arrayconv as ac
    >>> edges = ac.prepare(ac.conv1d, np.asarray([[[-1.0, 1.0]]]), padding=((1, 0),))
    >>> edges(np.asarray([[[1.0, 1.0, 3.0]]]))
    array([[[1., 0., 2.]]])
    """
    if not any(function is each for each in _CONVOLUTIONS):
        raise TypeError(f"prepare serves conv1d, conv2d and conv3d; got {function!r}")
    copied = [
        None if each is None else library_of(name, each).xp.asarray(each, copy=True)
        for name, each in (("weight", weight), ("bias", bias))
    ]
    # The input is missing yet; any one object shows whether the names are right.
    check_arguments(operation_of(function, "prepare"), (weight, *copied), params)
    return Prepared(function, params, *copied)
