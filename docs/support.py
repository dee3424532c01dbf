"""The table of the page `support.md`: operation x library x dtype, from the capabilities table."""

from __future__ import annotations

from arrayconv._capabilities import DTYPES, LIBRARIES, OPERATIONS, unsupported

MARK = "<!-- the support table -->"
GROUPS = {
    "bool": ("bool",),
    "int": ("int8", "int16", "int32", "int64"),
    "uint8": ("uint8",),
    "uint16, 32, 64": ("uint16", "uint32", "uint64"),
    "float16": ("float16",),
    "bfloat16": ("bfloat16",),
    "float32, 64": ("float32", "float64"),
    "complex": ("complex64", "complex128"),
}
NAMES = {
    "numpy": "NumPy",
    "array_api_strict": "array-api-strict",
    "torch": "torch",
    "jax": "JAX",
    "dask": "Dask",
    "cupy": "CuPy",
}


def support_table() -> str:
    """Return Markdown: a table for each library, and below it the reasons by number."""
    assert sorted(dtype for group in GROUPS.values() for dtype in group) == sorted(DTYPES)
    reasons: dict[str, int] = {}
    parts = []
    for library in LIBRARIES:
        headings = ["", *GROUPS]
        rows = [headings, [":--", *[":-:"] * len(GROUPS)]]
        for operation in OPERATIONS:
            row = [f"`{operation}`"]
            for group in GROUPS.values():
                found = {unsupported(operation, library, dtype) for dtype in group}
                notes = []
                for reason in sorted(filter(None, found)):
                    # One note for torch's three dtypes, whose reasons differ by the name only.
                    general = " ".join("such dtypes" if w in DTYPES else w for w in reason.split())
                    notes.append(str(reasons.setdefault(general, len(reasons) + 1)))
                words = ", ".join(dict.fromkeys(notes))
                row.append(f"no ({words})" if words and None not in found else words or "yes")
            rows.append(row)
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        parts.append(f"## {NAMES[library]}\n\n" + "\n".join(lines))
    listed = "\n".join(f"{number}. {reason}" for reason, number in reasons.items())
    return "\n\n".join(parts) + "\n\n## Why not\n\n" + listed
