"""`%vatic` and `%%vatic` of IPython and of notebooks."""

import re

from ._connection import Connection, connect

# What a semicolon does not end: texts, names in quotes, and comments.
PARTS = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\$(\w*)\$.*?\$\1\$|--[^\n]*|/\*.*?\*/|;|[^'\"$/;-]+|.", re.DOTALL)


def statements(script):
    """The statements of a script."""
    found, has_words = [""], [False]
    for part in PARTS.finditer(script):
        text = part.group()
        if text == ";":
            found.append("")
            has_words.append(False)
        else:
            found[-1] += text
            has_words[-1] |= not (text.isspace() or text.startswith(("--", "/*")))
    return [text.strip() for text, is_there in zip(found, has_words) if is_there]


class Magic:
    """`%vatic data` connects to a folder or a server; `%%vatic` runs the statements of a cell, at first on tables that are not kept, and
    `%%vatic con` on the connection in this variable. The last result is the value of the cell."""

    __name__ = "vatic"

    def __init__(self, shell):
        self.shell = shell
        self.connection = None

    def __call__(self, line, cell=None):
        line = line.strip()
        if cell is None:
            self.connection = connect(line) if line else self.connection or connect()
            return self.connection
        connection = self.shell.user_ns.get(line) if line else self.connection
        if line and not isinstance(connection, Connection):
            raise ValueError(f"{line} is not a connection; {line} = vatic.connect(...) makes one")
        if connection is None:
            connection = self.connection = connect()
        result = None
        for statement in statements(cell):
            self._show(result)
            result = self._run(connection, statement)
        return result if result is not None and result.num_columns else None

    def _run(self, connection, statement):
        width = 0

        def progress(line):
            nonlocal width
            print("\r" + line.ljust(width), end="", flush=True)
            width = len(line)

        try:
            return connection.sql(statement, progress=progress)
        finally:
            if width:
                print()

    def _show(self, result):
        from IPython.display import display

        if result is not None and result.num_columns:
            display(result)
