"""How wide the processor's vectors are, and how many it holds: import this by `compiler.loops`."""

from __future__ import annotations

from llvmlite import binding

_features = binding.get_host_cpu_features()
_WIDE = bool(_features.get("avx512f"))
VECTOR_BYTES = 64 if _WIDE else 32 if _features.get("avx") else 16
REGISTERS = 32 if _WIDE or _features.get("neon") else 16
CONVERTS_HALVES = bool(_features.get("f16c") or _features.get("neon"))
"""Whether it has instructions between float16 and float32."""
