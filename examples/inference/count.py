"""Counts the lines of the notebooks and of the scripts: python3 examples/inference/count.py FOLDER

FOLDER is examples/ML+DL-Examples/Spark-DL/dl_inference of a clone of github.com/NVIDIA/spark-rapids-examples. The script prints
the numbers of the table in README.md: a line for each notebook below the folder.

A line counts if it is code: not blank, no comment, no magic of the notebook (%%time, %pip). Helpers beside the notebooks
(server_utils.py) do not count. A heading of the second level (##) that has the word PySpark divides a notebook:

* before: the cells above it, which train the model, or try it without Spark
* one way: the cells from there to the end of the first section that infers, of the Spark DL API if there is one, else of a
  server. Of cells in a row that begin with %%time, which run the same once more, the first counts
* all: all cells from the heading on
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).parent


def text(cell):
    return "".join(cell["source"])


def is_code(line):
    return line.strip() != "" and not line.lstrip().startswith(("#", "%"))


def lines(cells):
    return sum(is_code(line) for cell in cells if cell["cell_type"] == "code" for line in text(cell).splitlines())


def heading(cell):
    """The words of a heading of the second level, else None."""
    if cell["cell_type"] == "markdown":
        for line in text(cell).splitlines():
            if line.startswith("## "):
                return line[3:]
    return None


def once(cells):
    """The cells without repetitions of a run."""
    kept, was_run = [], False
    for cell in cells:
        is_run = text(cell).startswith("%%time")
        if not (is_run and was_run):
            kept.append(cell)
        was_run = is_run
    return kept


def counts(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    sections = [(place, heading(cell)) for place, cell in enumerate(cells) if heading(cell)]
    # A notebook may begin with a heading of its own that has the word.
    spark = next(place for place, words in sections if words.strip() == "PySpark")
    after = [place for place, _ in sections if place > spark] + [len(cells)]
    # The section after the heading prepares the rows, the next one infers.
    end = after[1]
    return lines(cells[:spark]), lines(once(cells[spark:end])), lines(cells[spark:])


def sql_lines(script):
    return sum(line.strip() != "" and not line.lstrip().startswith("--") for line in script.read_text().splitlines())


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: count.py FOLDER, the folder dl_inference of the notebooks")
    notebooks = sorted(pathlib.Path(sys.argv[1]).rglob("*.ipynb"))
    if not notebooks:
        sys.exit(f"{sys.argv[1]} has no notebooks")
    print("| notebook | before | one way | all | SQL |")
    print("|---|---|---|---|---|")
    for notebook in notebooks:
        script = HERE / f"{notebook.stem}.sql"
        sql = sql_lines(script) if script.exists() else "none"
        before, one_way, all_lines = counts(notebook)
        print(f"| {notebook.parent.name}/{notebook.stem} | {before} | {one_way} | {all_lines} | {sql} |")


main()
