"""The base class of all layers: parameters by name, the pullback of the last call, one device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import Any

from arrayconv._arrays import Array
from arrayconv._device import Device, get_device
from arrayconv.functional.gradients import vjp
from arrayconv.functional.operations import Pullback

Operation = tuple[Callable[..., Array], dict[str, Any]]
"""A function of arrayconv, and its arguments beside the arrays."""


class Parameter:
    """An array that is learned, and what the last backward passes added up for it.

    Attributes
    ----------
    value : array
        The parameter itself.
    grad : array or None
        The sum of the gradients since they were last set to None.

    Examples
    --------
    >>> import numpy as np
    >>> from arrayconv import nn
    >>> weight = nn.Parameter(np.ones(2))
    >>> weight.accumulate(np.ones(2))
    >>> weight.accumulate(np.ones(2))
    >>> weight.grad
    array([2., 2.])
    """

    def __init__(self, value: Array) -> None:
        self.value = value
        self.grad: Array | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The value's shape."""
        return tuple(self.value.shape)

    def accumulate(self, gradient: Array) -> None:
        """Add a gradient to those there are."""
        self.grad = gradient if self.grad is None else self.grad + gradient


class Module:
    """A layer, or a network of layers.

    A layer of one operation says in `operation` what that is, and has nothing else to do. A module
    of several overrides `forward` and `backward`.

    Attributes
    ----------
    training : bool
        Whether calls keep what `backward` needs, and layers that differ behave as in training.

    Examples
    --------
    >>> import numpy as np
    >>> from arrayconv import nn
    >>> layer = nn.Linear(3, 1, bias=False)
    >>> layer.load_state_dict({"weight": np.asarray([[1, 2, 3]])})
    >>> layer(np.ones((1, 3), np.float32))
    array([[6.]], dtype=float32)
    >>> layer.backward(np.ones((1, 1), np.float32))
    array([[1., 2., 3.]], dtype=float32)
    >>> layer.weight.grad
    array([[1., 1., 1.]], dtype=float32)
    """

    def __init__(self) -> None:
        self.training = True
        self.parameters_by_name: dict[str, Parameter | None] = {}
        self.buffers_by_name: dict[str, Array] = {}
        self.modules_by_name: dict[str, Module] = {}
        self._pullback: Pullback | None = None

    # --- one operation ------------------------------------------------------------------------

    def operation(self) -> Operation:
        """Return the operation that this layer is, and its arguments beside the arrays."""
        raise NotImplementedError(f"{type(self).__name__} must say which operation it is")

    def multiply_adds(self, given: tuple[int, ...], made: tuple[int, ...]) -> int:
        """Return the multiply-adds from an input of one shape to an output of another."""
        return 0

    def __call__(self, input: Array) -> Array:
        """Return `forward` of the input."""
        return self.forward(input)

    def forward(self, input: Array) -> Array:
        """Return the output; in training the pullback is kept for `backward`."""
        function, arguments = self.operation()
        arrays = [None if each is None else each.value for each in self.parameters_by_name.values()]
        while arrays and arrays[-1] is None:
            arrays.pop()
        if not self.training:
            self._pullback = None
            return function(input, *arrays, **arguments)
        output, self._pullback = vjp(function, input, *arrays, **arguments)
        return output

    def backward(self, cotangent: Array) -> Array:
        """Return the gradient at the last call's input, and add those of the parameters up.

        Parameters
        ----------
        cotangent : array
            The gradient at the output of the last call.

        Raises
        ------
        RuntimeError
            Where the module was not called in training since.
        """
        if self._pullback is None:
            raise RuntimeError(
                f"{type(self).__name__}.backward needs a call in training mode before it: "
                "train() sets that mode"
            )
        to_input, *others = self._pullback(cotangent)
        for parameter, gradient in zip(self.parameters_by_name.values(), others, strict=False):
            if parameter is not None and gradient is not None:
                parameter.accumulate(gradient)
        return to_input

    # --- what it holds ------------------------------------------------------------------------

    @property
    def weight(self) -> Parameter | None:
        """The parameter of that name."""
        return self.parameters_by_name["weight"]

    @property
    def bias(self) -> Parameter | None:
        """The parameter of that name."""
        return self.parameters_by_name["bias"]

    def children(self) -> Iterator[Module]:
        """Yield the modules that this one is made of."""
        yield from self.modules_by_name.values()

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Yield each parameter with its name, as ``"0.weight"``."""
        for name, parameter in self.parameters_by_name.items():
            if parameter is not None:
                yield prefix + name, parameter
        for name, module in self.modules_by_name.items():
            yield from module.named_parameters(f"{prefix}{name}.")

    def parameters(self) -> list[Parameter]:
        """Return all parameters, of the modules within too."""
        return [parameter for _, parameter in self.named_parameters()]

    def zero_grad(self) -> None:
        """Forget the gradients that were added up."""
        for parameter in self.parameters():
            parameter.grad = None

    def train(self, mode: bool = True) -> Module:
        """Set training mode, here and within; return the module."""
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Module:
        """Leave training mode: calls keep nothing, and running statistics are used."""
        return self.train(False)

    def state_dict(self, prefix: str = "") -> dict[str, Array]:
        """Return every parameter and buffer by its name, as ``torch.nn`` names them."""
        state: dict[str, Array] = {}
        for name, parameter in self.parameters_by_name.items():
            if parameter is not None:
                state[prefix + name] = parameter.value
        state |= {prefix + name: buffer for name, buffer in self.buffers_by_name.items()}
        for name, module in self.modules_by_name.items():
            state |= module.state_dict(f"{prefix}{name}.")
        return state

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Take parameters and buffers from a state dict, of torch's too.

        Parameters
        ----------
        state : mapping of str to array
            Of any library; each goes to the device and dtype of what it replaces. A
            ``.safetensors`` file is read by ``safetensors.numpy.load_file``.

        Raises
        ------
        ValueError
            Where a name is missing or too many, or a shape differs; nothing is loaded then.
        """
        own = self.state_dict()
        missing, extra = sorted(set(own) - set(state)), sorted(set(state) - set(own))
        if missing or extra:
            raise ValueError(f"the state dict lacks {missing} and has {extra} too many")
        for name, array in own.items():
            if tuple(state[name].shape) != tuple(array.shape):
                raise ValueError(
                    f"{name} has the shape {tuple(array.shape)}, the state dict's is "
                    f"{tuple(state[name].shape)}"
                )

        def copied(name: str, array: Array) -> Array:
            # Never the same memory: who owns the state dict may go on changing it.
            given = self._place.asarray(state[name], dtype=array.dtype)
            return self._place.xp.asarray(given, copy=True)

        self._replace(copied)

    def to(self, device: Device | str) -> Module:
        """Move every parameter and buffer to a device, as `get_device` names it; return self."""
        place = device if isinstance(device, Device) else get_device(device)
        self._replace(lambda name, array: place.asarray(array))
        self._set_place(place)
        return self

    _place = get_device("cpu")

    def _set_place(self, place: Device) -> None:
        self._place = place
        for module in self.children():
            module._set_place(place)

    def _replace(self, new: Callable[[str, Array], Array], prefix: str = "") -> None:
        """Replace every parameter and buffer by what ``new`` makes of its name and itself."""
        for name, parameter in self.parameters_by_name.items():
            if parameter is not None:
                parameter.value = new(prefix + name, parameter.value)
                parameter.grad = None
        for name, buffer in self.buffers_by_name.items():
            self.buffers_by_name[name] = new(prefix + name, buffer)
        for name, module in self.modules_by_name.items():
            module._replace(new, f"{prefix}{name}.")

    # --- how it is shown ----------------------------------------------------------------------

    def description(self) -> str:
        """Return the layer's name with the arguments that matter."""
        return type(self).__name__

    def __repr__(self) -> str:
        """Return the layers, one a line."""
        if not self.modules_by_name:
            return self.description()
        inner = "\n".join(
            f"  ({name}): " + repr(module).replace("\n", "\n  ")
            for name, module in self.modules_by_name.items()
        )
        return f"{self.description()}(\n{inner}\n)"

    def summary(self, input_shape: tuple[int, ...]) -> str:
        """Return a table of each layer's output shape, parameters and multiply-adds.

        Parameters
        ----------
        input_shape : tuple of int
            Of an input, with N: ``(1, 1, 28, 28)``. The network is run once on zeros.
        """
        rows: list[tuple[str, str, str, str]] = []
        totals = [0, 0]
        was = {id(module): module.training for module in self._all()}
        self.eval()
        try:
            self._run_for_summary(self._zeros(input_shape), "", rows, totals)
        finally:
            for module in self._all():
                module.training = was[id(module)]
        rows.append(("total", "", f"{totals[0]:,}", f"{totals[1]:,}"))
        rows.insert(0, ("layer", "output", "parameters", "multiply-adds"))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        return "\n".join(
            f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:>{widths[2]}}  "
            f"{row[3]:>{widths[3]}}"
            for row in rows
        )

    def _all(self) -> Iterator[Module]:
        yield self
        for module in self.children():
            yield from module._all()

    def _zeros(self, shape: tuple[int, ...]) -> Array:
        parameters = self.parameters()
        dtype = parameters[0].value.dtype if parameters else self._place.xp.float32
        return self._place.asarray(self._place.xp.zeros(shape, dtype=dtype))

    def _run_for_summary(
        self,
        input: Array,
        name: str,
        rows: list[tuple[str, str, str, str]],
        totals: list[int],
    ) -> Array:
        output = self.forward(input)
        count = sum(prod(parameter.shape) for parameter in self.parameters())
        work = self.multiply_adds(tuple(input.shape), tuple(output.shape))
        shown = f"{name} {self.description()}".strip()
        rows.append((shown, str(tuple(output.shape)), f"{count:,}", f"{work:,}"))
        totals[0] += count
        totals[1] += work
        return output


class Sequential(Module):
    """Layers, each fed with the output of the one before it.

    Parameters
    ----------
    *layers : Module
        Named by their numbers, as in ``torch.nn.Sequential``.

    Examples
    --------
    >>> import numpy as np
    >>> from arrayconv import nn
    >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 10))
    >>> net(np.ones((5, 1, 8, 8), np.float32)).shape
    (5, 10)
    >>> sorted(net.state_dict())
    ['0.bias', '0.weight', '3.bias', '3.weight']
    """

    def __init__(self, *layers: Module) -> None:
        super().__init__()
        for number, layer in enumerate(layers):
            if not isinstance(layer, Module):
                raise TypeError(f"layer {number} must be a Module, got {layer!r}")
            self.modules_by_name[str(number)] = layer

    def __getitem__(self, number: int) -> Module:
        """Return one of the layers."""
        return list(self.children())[number]

    def __len__(self) -> int:
        """Return the number of layers."""
        return len(self.modules_by_name)

    def forward(self, input: Array) -> Array:
        """Return the last layer's output."""
        for layer in self.children():
            input = layer(input)
        return input

    def backward(self, cotangent: Array) -> Array:
        """Return the gradient at the input, having passed all layers from the last."""
        for layer in reversed(list(self.children())):
            cotangent = layer.backward(cotangent)
        return cotangent

    def _run_for_summary(
        self,
        input: Array,
        name: str,
        rows: list[tuple[str, str, str, str]],
        totals: list[int],
    ) -> Array:
        for number, layer in self.modules_by_name.items():
            input = layer._run_for_summary(input, f"{name}.{number}".strip("."), rows, totals)
        return input
