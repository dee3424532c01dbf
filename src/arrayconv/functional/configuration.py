"""show_config: what is installed, which devices there are, and who runs each primitive."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
from typing import Any

from arrayconv import primitives
from arrayconv._capabilities import COMPANIONS, LIBRARIES
from arrayconv._device import cuda_devices
from arrayconv._options import current
from arrayconv._registry import Primitive, offered, remarks
from arrayconv._version import __version__
from arrayconv.functional.arguments import one_of


def _version(module: str) -> str | None:
    """Return the version of an installed module's distribution, which may have another name."""
    if importlib.util.find_spec(module) is None:
        return None
    # Not imported above: it is slow, and nothing else wants it.
    metadata = importlib.import_module("importlib.metadata")
    try:
        return str(metadata.version(module))
    except metadata.PackageNotFoundError:
        # CuPy's has the version of CUDA in its name. This reads what every distribution holds.
        names = metadata.packages_distributions().get(module, [])
    return str(metadata.version(names[0])) if names else "?"


_UNVERIFIED = "unverified: runs with options(allow_unverified=True)"


def _state(name: str, verified: bool) -> str:
    return name if verified else f"{name} ({_UNVERIFIED})"


def _implementations(library: str) -> dict[str, list[str]] | str:
    """Return the implementations of each primitive for a library, or why there are none."""
    try:
        by_name = offered(library)
    except ImportError as problem:
        return f"its backend could not be imported: {problem}"
    every = [each for each in vars(primitives).values() if isinstance(each, Primitive)]
    return {
        primitive.name: [
            _state(each.name, each.verified)
            for each in (*by_name.get(primitive.name, ()), primitive.generic)
        ]
        for primitive in sorted(every, key=lambda primitive: primitive.name)
    }


def _compiled_kernels() -> dict[str, float]:
    """Return the seconds that each CUDA kernel of this process took to compile or to load."""
    # Not imported above: a backend is loaded when it is needed.
    launch = importlib.import_module("arrayconv.backends.cupy.launch")
    found: dict[str, float] = launch.compiled_kernels()
    return found


def configuration() -> dict[str, Any]:
    """Return what `show_config` shows."""
    versions = {
        "arrayconv": __version__,
        "python": platform.python_version(),
        **{module: _version(module) for module in (*LIBRARIES, *COMPANIONS)},
    }
    options = current()
    return {
        "versions": versions,
        "machine": {"platform": platform.platform(), "cpus": os.cpu_count()},
        "cuda": cuda_devices(),
        "kernels": _compiled_kernels(),
        "options": {name: getattr(options, name) for name in options.__slots__},
        "remarks": {
            library: remarks(library)
            for library in LIBRARIES
            if versions[library] is not None and isinstance(_implementations(library), dict)
        },
        "implementations": {
            library: "not installed" if versions[library] is None else _implementations(library)
            for library in LIBRARIES
        },
    }


def _lines(found: dict[str, Any]) -> list[str]:
    lines = []
    for section in ("versions", "machine", "options"):
        lines.append(section)
        width = max(map(len, found[section]))
        for name, value in found[section].items():
            shown = "not installed" if value is None else value
            lines.append(f"  {name:<{width}}  {shown}")
    cuda = found["cuda"]
    lines += ["CUDA", *(f"  {each}" for each in ([cuda] if isinstance(cuda, str) else cuda))]
    if found["kernels"]:
        lines.append("CUDA kernels of this process, and the seconds to compile or load each")
        lines += [f"  {seconds:6.3f}  {name}" for name, seconds in found["kernels"].items()]
    for library, said in found["remarks"].items():
        lines += [f"{library}: {each}" for each in said]
    lines.append("implementations, best first (explain says which one runs a call)")
    lines.append(f"  * is {_UNVERIFIED}")
    for library, by_primitive in found["implementations"].items():
        if isinstance(by_primitive, str):
            lines.append(f"  {library}: {by_primitive}")
            continue
        lines.append(f"  {library}")
        width = max(map(len, by_primitive))
        for primitive, names in by_primitive.items():
            marked = ", ".join(name.replace(f" ({_UNVERIFIED})", "*") for name in names)
            lines.append(f"    {primitive:<{width}}  {marked}")
    return lines


def show_config(mode: str = "print") -> dict[str, Any] | None:
    """Show versions, devices, options, and the implementations that each library has.

    The libraries that are installed are imported for it. ``python -m arrayconv info`` prints the
    same.

    Parameters
    ----------
    mode : {"print", "dicts"}, optional
        Whether to print, or to return what would be printed, as `numpy.show_config` does.

    Returns
    -------
    dict or None
        With "dicts": ``versions`` (None where not installed), ``machine``, ``cuda`` (a list of
        devices, or the sentence that says why there is none), ``kernels`` (the seconds to
        compile or load each CUDA kernel that this process has used), ``options``,
        ``implementations``, and ``remarks``: what holds a library's back on this machine.

    Raises
    ------
    ValueError, TypeError
        Where the mode is another.

    Examples
    --------
    >>> import arrayconv as ac
    >>> ac.show_config("dicts")["implementations"]["numpy"]["fold"][-1]
    'generic'
    """
    one_of("mode", mode, ("print", "dicts"))
    found = configuration()
    if mode == "dicts":
        return found
    print("\n".join(_lines(found)))
    return None
