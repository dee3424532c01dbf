"""The rules of the house: who may import whom, and who may know which library.

Every rule is a function that returns the violations it finds in a tree, so that each is also tried
on a small tree that breaks it.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import arrayconv

PACKAGE = Path(arrayconv.__file__).parent
REPOSITORY = Path(__file__).parents[1]

# From the ground up: a part imports only what stands on a lower floor, or in its own folder.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("_integers", "_version", "_capabilities", "reference"),
    ("_window",),
    ("_parts",),
    ("_arrays", "_options"),
    ("_registry", "_device"),
    ("_images", "_random"),
    ("primitives",),
    ("backends",),
    ("functional",),
    ("nn", "draw"),
    ("__init__",),
    ("_first_calls",),
    ("__main__", "examples"),
)
# These import nothing of the package: integers are the ground, the reference an independent
# witness, and the table and the version are read by tools.
ALONE = ("_integers", "_version", "_capabilities", "reference")

LIBRARIES = {"array_api_strict", "cupy", "dask", "jax", "np", "numpy", "torch"}
# Where a library may be imported or its attributes named.
MAY_USE_LIBRARIES = (
    "backends",
    "_device",
    "_images",
    "_random",
    "_arrays",
    "reference",
    "draw",
    "examples",
)
# Where a library's name may stand as a word: the table, and the list of lazy backends.
MAY_NAME_LIBRARIES = (*MAY_USE_LIBRARIES, "_capabilities", "__init__")

LINES = 400


def module_name(path: Path, root: Path) -> str:
    """Return ``primitives.taps`` for ``root/primitives/taps.py``; a folder's own is the folder."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def modules(root: Path) -> dict[str, ast.Module]:
    return {
        module_name(path, root): ast.parse(path.read_text(encoding="utf-8"), str(path))
        for path in sorted(root.rglob("*.py"))
    }


def part_of(module: str) -> str:
    """Return the part of the house that a module belongs to: its top folder, or itself."""
    return module.partition(".")[0]


def imported_names(tree: ast.Module) -> Iterator[str]:
    """Yield the full names a module imports, those inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute in this package"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_within(root: Path) -> dict[str, set[str]]:
    """Return, for each module of the package in ``root``, the modules of it that it imports."""
    trees = modules(root)
    graph: dict[str, set[str]] = {}
    for module, tree in trees.items():
        graph[module] = set()
        for name in imported_names(tree):
            if part_of(name) != root.name:
                continue
            inside = name.partition(".")[2]
            while inside and inside not in trees:
                inside = inside.rpartition(".")[0]
            graph[module].add(inside or "__init__")
    return graph


def cycles(root: Path) -> list[str]:
    try:
        TopologicalSorter(imports_within(root)).prepare()
    except CycleError as error:
        return [" -> ".join(error.args[1])]
    return []


def upward_imports(root: Path) -> list[str]:
    floor = {part: number for number, parts in enumerate(FLOORS) for part in parts}
    found = []
    for module, targets in imports_within(root).items():
        part = part_of(module)
        if part not in floor:
            found.append(f"{module}: no floor of the house has a part {part}")
            continue
        for target in sorted(targets):
            other = part_of(target)
            if part in ALONE and part != other:
                found.append(f"{module} imports {target}, and should stand alone")
            elif part != other and floor.get(other, len(FLOORS)) >= floor[part]:
                found.append(f"{module} imports {target}, which stands no lower")
    return found


def docstrings(tree: ast.Module) -> set[int]:
    """Return the ids of the nodes that are docstrings, of attributes too."""
    return {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def library_mentions(root: Path) -> list[str]:
    """Return where code (no docstring, no message) knows a library that it should not know."""
    found = []
    for module, tree in modules(root).items():
        part = part_of(module)
        written = docstrings(tree)
        for node in ast.walk(tree):
            used: set[str] = set()
            named: set[str] = set()
            if isinstance(node, ast.Import | ast.ImportFrom):
                prefix = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
                for name in [*prefix, *(alias.name for alias in node.names)]:
                    if part_of(name) != root.name:
                        used |= {part_of(name)}
            elif isinstance(node, ast.Name):
                used = {node.id}
            elif isinstance(node, ast.Attribute):
                used = {node.attr}
            elif isinstance(node, ast.arg):
                used = {node.arg}
            elif (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and id(node) not in written
            ):
                named = {node.value.partition(".")[0]}
            wrong = (used & LIBRARIES) if part not in MAY_USE_LIBRARIES else set()
            wrong |= (named & LIBRARIES) if part not in MAY_NAME_LIBRARIES else set()
            line = getattr(node, "lineno", 0)
            found += [f"{module}:{line} mentions {library}" for library in sorted(wrong)]
    return found


def shadowing_modules(root: Path, public: list[str]) -> list[str]:
    """Return the modules whose import would hide, or be mistaken for, a public function."""
    return [module for module in modules(root) if module.rpartition(".")[2] in public]


def long_files(*roots: Path) -> list[str]:
    return [
        f"{path}: {count} lines"
        for root in roots
        for path in sorted(root.rglob("*.py"))
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > LINES
    ]


def own_ways_to_compile(root: Path) -> list[str]:
    """Return the modules that call numba's compiler themselves, and not by `loop_forms`."""
    return [
        module
        for module, tree in modules(root).items()
        if module.rpartition(".")[2] != "loop_forms"
        and any(
            "njit" in (getattr(node, "attr", None), getattr(node, "id", None))
            for node in ast.walk(tree)
        )
    ]


def undocumented(module: ModuleType) -> list[str]:
    """Return the public functions whose docstring shows no example, and classes without any."""
    found = []
    for name in module.__all__:
        value = getattr(module, name)
        written = inspect.cleandoc(value.__doc__ or "")
        shown = not inspect.isfunction(value) or "Examples\n--------\n>>> " in written
        if callable(value) and not (written and shown):
            found.append(name)
    return found


def public_names(module: ModuleType) -> set[str]:
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    } - {"annotations"}


# --- the rules hold ---------------------------------------------------------------------------


def test_the_package_is_found():
    assert {"__init__", "_window", "_registry", "primitives.taps"} <= set(modules(PACKAGE))


def test_no_import_cycle():
    assert cycles(PACKAGE) == []


def test_no_arrow_upwards():
    assert upward_imports(PACKAGE) == []


def test_only_the_backends_know_libraries():
    assert library_mentions(PACKAGE) == []


def test_no_module_is_named_like_a_public_function():
    assert shadowing_modules(PACKAGE, arrayconv.__all__) == []


def test_loops_are_compiled_in_one_way():
    """Each form of a loop has a name of its own, which numba does not see to."""
    assert own_ways_to_compile(PACKAGE) == []


def test_files_of_one_sitting():
    roots = [root for root in (PACKAGE, REPOSITORY / "bench") if root.is_dir()]
    assert long_files(*roots) == []


def test_all_is_what_is_public():
    assert sorted(arrayconv.__all__) == sorted({*public_names(arrayconv), "__version__"})


def test_every_public_function_shows_an_example():
    assert undocumented(arrayconv) == []


IMPORTS = """
import json, sys
import numpy
before = set(sys.modules)
import arrayconv
json.dump(sorted(set(sys.modules) - before), sys.stdout)
"""


def loaded_by(source: str) -> set[str]:
    """Return the modules that a fresh interpreter says it loaded."""
    path = os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])
    printed = subprocess.run(
        [sys.executable, "-c", source],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    return set(json.loads(printed))


def test_import_loads_no_other_library():
    loaded = loaded_by(IMPORTS)
    assert "arrayconv.functional" in loaded
    foreign = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names)
    assert foreign <= {"arrayconv", "array_api_compat", "numpy"}
    assert not {name for name in loaded if name.startswith("array_api_compat.torch")}


def test_import_loads_neither_reference_nor_a_backend():
    loaded = loaded_by(IMPORTS)
    assert "arrayconv.reference" not in loaded
    assert not {name for name in loaded if name.startswith("arrayconv.backends.")}


def test_the_version_is_written_once():
    version = importlib.import_module("arrayconv._version").__version__
    assert arrayconv.__version__ == version
    citation = (REPOSITORY / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {version}\n" in citation


# --- and each can fail ------------------------------------------------------------------------


@pytest.fixture
def house(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a package of the given files, and returns its folder."""

    def build(**files: str) -> Path:
        root = tmp_path / "arrayconv"
        for name, text in {"__init__": "", **files}.items():
            path = root / (name.replace("__in__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return root

    return build


def test_a_cycle_is_found(house):
    root = house(
        _arrays="def f():\n    import arrayconv._options",
        _options="from arrayconv._arrays import f",
    )
    assert cycles(root)
    assert cycles(house(_arrays="", _options="from arrayconv._arrays import f")) == []


def test_the_package_itself_counts_in_a_cycle(house):
    root = house(__init__="from arrayconv._arrays import f", _arrays="from arrayconv import f")
    assert cycles(root)


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("_window", "from arrayconv._arrays import zeros"),
        ("reference", "from arrayconv import _window"),
        ("_arrays", "import arrayconv._registry"),
        ("primitives__in__taps", "from arrayconv.functional import conv2d"),
        ("primitives__in__taps", "def f():\n    from arrayconv import conv2d"),
        ("functional__in__pools", "from arrayconv import nn"),
        ("_stranger", "import math"),
    ],
)
def test_an_arrow_upwards_is_found(house, module, text):
    root = house(_window="", _arrays="", _registry="", functional__in____init__="", nn="")
    assert upward_imports(root) == []
    assert len(upward_imports(house(**{module: text}))) == 1


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("primitives__in__taps", "import numpy"),
        ("primitives__in__taps", "from cupy.cuda import Device"),
        ("functional__in__pools", "def f(x):\n    return torch.sum(x)"),
        ("functional__in__pools", "def f(x):\n    return x.library.jax"),
        ("functional__in__pools", "def f(library):\n    return library.name == 'torch'"),
        ("_registry", "def f(np):\n    return 0"),
        ("_registry", "import dask.array as da"),
    ],
)
def test_a_mention_of_a_library_is_found(house, module, text):
    assert len(library_mentions(house(**{module: text}))) == 1


def test_a_docstring_and_a_backend_may_mention_libraries(house):
    root = house(
        _options='"""As in torch: import numpy as np."""\nx = 1\n"""numpy"""',
        backends__in__torch="import torch",
        _capabilities="LIBRARIES = ('numpy', 'torch')",
    )
    assert library_mentions(root) == []


def test_a_module_named_like_a_function_is_found(house):
    root = house(options="", functional__in__pad="", _options="")
    assert shadowing_modules(root, ["options", "pad"]) == ["functional.pad", "options"]


@pytest.mark.parametrize("text", ["@numba.njit\ndef f(): ...", "@njit(cache=True)\ndef f(): ..."])
def test_a_way_to_compile_of_its_own_is_found(house, text):
    root = house(backends__in__some_loops=text, backends__in__loop_forms=text)
    assert own_ways_to_compile(root) == ["backends.some_loops"]


def test_a_long_file_is_found(house):
    assert len(long_files(house(_window="x = 1\n" * (LINES + 1), _arrays="x = 1\n" * LINES))) == 1


def test_a_missing_example_and_a_forgotten_name_are_found():
    module: Any = ModuleType("broken")

    def conv() -> None:
        """Convolve."""

    class Window:
        pass

    module.conv, module.Window = conv, Window
    module.__all__ = ["conv", "Window"]
    assert undocumented(module) == ["conv", "Window"]
    module.fold = conv
    assert public_names(module) == {"conv", "fold", "Window"}


def test_a_loaded_library_is_found():
    assert "colorsys" in loaded_by(IMPORTS.replace("import arrayconv", "import colorsys"))
