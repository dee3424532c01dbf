"""The benchmark: ``python -m bench``, from the root of the repository.

``cases`` says what is computed, ``providers`` who computes it, ``timing`` checks and times them,
``report`` and ``pictures`` show it, ``environment`` is what all of them run in.
"""
