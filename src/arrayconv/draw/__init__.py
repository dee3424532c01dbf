"""Pictures of what the operations do: kernels, maps, windows, columns, pools and counts.

For notebooks and for teaching. It needs matplotlib (``pip install 'arrayconv[draw]'``), and
``import arrayconv`` does not load it: write ``from arrayconv import draw``. Every function takes
arrays of any library and returns a matplotlib ``Figure`` of its own, which a notebook shows and
``figure.savefig("picture.svg")`` saves; colours of lines and text are those of matplotlib's style.
"""

from arrayconv.draw.grids import cells, feature_maps, kernels
from arrayconv.draw.windows import columns, fold_counts, pooling, window

__all__ = ["cells", "columns", "feature_maps", "fold_counts", "kernels", "pooling", "window"]
