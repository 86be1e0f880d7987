"""The code in docs/guide/python.md."""

import re
from pathlib import Path

from IPython.core.interactiveshell import InteractiveShell

GUIDE = Path(__file__).parents[3] / "docs" / "guide" / "python.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_each_block_of_the_guide_runs(capsys):
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "vatic")
    blocks = BLOCK.findall(GUIDE.read_text())
    assert {language for language, _ in blocks} == {"python", "ipython"}
    for _, text in blocks:
        shell.run_cell(text).raise_error()
    said = capsys.readouterr().out
    assert "Gentoo" in said
    assert "setosa" in said
    [row] = shell.user_ns["con"].sql("SELECT predicted_price AS p FROM predict(price, (SELECT 5.0 AS size))").to_pylist()
    assert abs(row["p"] - 11) < 0.1
    shell.user_ns["con"].close()
    InteractiveShell.clear_instance()
