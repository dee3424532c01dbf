"""The benchmark: ``python -m bench``, from the root of the repository.

``cases`` says what is computed, ``providers`` who computes it, ``expected`` what is right,
``timing`` checks and times them, ``resuming`` goes on behind what broke a GPU, ``report`` and
``plots`` show it, ``environment`` is what all of them run in. ``gpu`` is the one command for a
machine with a GPU.
"""
