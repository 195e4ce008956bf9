"""Execute notebooks in place and keep their outputs and nothing else: no times, versions or random names.

.venv/bin/python notebooks/execute.py                           # all of this folder
.venv/bin/python notebooks/execute.py notebooks/01_one_image.ipynb
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def execute(path: Path) -> None:
    """Raises nbclient's CellExecutionError where a cell fails; the file then stays as it was."""
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(path.resolve().parent)}}
    NotebookClient(notebook, kernel_name="python3", timeout=600, record_timing=False, resources=where).execute()
    notebook.metadata = nbformat.from_dict(METADATA)
    for number, cell in enumerate(notebook.cells, start=1):
        cell.id, cell.metadata = f"cell-{number:02d}", nbformat.from_dict({})
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for found in map(Path, sys.argv[1:] or sorted(Path(__file__).parent.glob("*.ipynb"))):
        print(found, flush=True)
        execute(found)
