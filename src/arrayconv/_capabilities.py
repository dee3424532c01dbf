"""What each library can do: operation x library x dtype, where the answer is not simply yes.

The operations serve every dtype of the standard that has a meaning for them; this table holds the
exceptions, with the reason that a user is told. The tests' skips and the support page are made
from it, so that neither can say more than is true.
"""

from __future__ import annotations

from itertools import product

OPERATIONS = (
    *("unfold", "fold", "conv", "conv_transpose", "linear", "correlate", "pad", "vjp"),
    *("max_pool", "avg_pool", "lp_pool", "max_unpool"),
    *("relu", "dropout", "batch_norm", "cross_entropy"),
)
LIBRARIES = ("numpy", "array_api_strict", "torch", "jax", "dask", "cupy")
COMPILED_FOR = ("cupy", "numpy")
"""Those for whose arrays there is code to compile."""
COMPANIONS = ("array_api_compat", "ml_dtypes", "numba")
"""Packages whose versions `arrayconv.show_config` shows beside those of the libraries."""
DTYPES = (
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *("float16", "bfloat16", "float32", "float64"),
    *("complex64", "complex128"),
)
_PRODUCTS = ("conv", "conv_transpose", "linear", "correlate")
_INEXACT = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")

_EXCEPTIONS: dict[tuple[str, str, str], str] = {
    **{
        (operation, library, "bool"): "a product of bools has no one meaning: cast to an integer"
        for operation, library in product(_PRODUCTS, LIBRARIES)
    },
    **{
        (operation, library, "bool"): "bools are neither ordered nor averaged: cast to an integer"
        for operation, library in product(("max_pool", "avg_pool", "relu"), LIBRARIES)
    },
    **{
        (operation, library, dtype): "complex numbers have no order"
        for operation, library, dtype in product(
            ("max_pool", "relu"), LIBRARIES, ("complex64", "complex128")
        )
    },
    **{
        (operation, library, dtype): "its numbers must be real and floating"
        for operation, library, dtype in product(
            ("lp_pool", "batch_norm", "cross_entropy"), LIBRARIES, DTYPES
        )
        if dtype not in ("float16", "bfloat16", "float32", "float64")
    },
    **{
        ("vjp", library, dtype): "only real and complex floating arrays have gradients"
        for library, dtype in product(LIBRARIES, DTYPES)
        if dtype not in _INEXACT
    },
    **{
        (operation, "torch", dtype): f"torch has no arithmetic for {dtype} on the CPU"
        for operation, dtype in product(
            (*_PRODUCTS, "fold", "max_pool", "avg_pool", "relu"), ("uint16", "uint32", "uint64")
        )
    },
    **{
        (operation, "array_api_strict", dtype): f"array-api-strict has no {dtype}"
        for operation, dtype in product(OPERATIONS, ("float16", "bfloat16"))
    },
}


def unsupported(operation: str, library: str, dtype: str) -> str | None:
    """Return why an operation does not serve a library's arrays of a dtype, or None if it does."""
    return _EXCEPTIONS.get((operation, library, dtype))
