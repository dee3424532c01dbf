"""Many tables of whole numbers as one array, which compiled code takes as one argument."""

from __future__ import annotations

from typing import Any

import numpy as np


class Tables:
    """Tables, one after the other."""

    def __init__(self) -> None:
        self._tables: dict[int, tuple[int, Any]] = {}
        self._size = 0

    def place(self, table: Any) -> int:
        """Return where a table begins; the same one, if it was placed before, is not again."""
        # The table is kept, so that no other one gets its number.
        if id(table) not in self._tables:
            self._tables[id(table)] = (self._size, table)
            self._size += table.size
        return self._tables[id(table)][0]

    def flat(self) -> Any:
        """Return the array."""
        parts = [np.asarray(table, np.int64).reshape(-1) for _, table in self._tables.values()]
        return np.concatenate([np.empty(0, np.int64), *parts])
