"""Write every picture of the docs into a folder, in every theme."""

import sys
from pathlib import Path

from docs.pictures import PICTURES, files, picture


def main(folder: Path) -> None:
    """Write them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PICTURES:
        for theme, file in files(name).items():
            path = folder / file
            path.write_bytes(picture(name, theme))
            print(f"{path.stat().st_size:8,} bytes  {path}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
