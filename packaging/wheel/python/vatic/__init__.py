"""Vatic from Python: train and run neural models inside SQL.

    import vatic

    con = vatic.connect("data")               # a folder for tables and models; vatic.connect() keeps nothing
    con.register("people", frame)             # Arrow, pandas or polars; gone when the connection closes
    con.sql("SELECT * FROM people").df()      # or .pl(), or .arrow()

In a notebook, `%load_ext vatic` adds `%%vatic`, for cells of SQL.
"""

from ._connection import Connection, connect
from ._result import Result

__all__ = ["Connection", "Result", "connect", "load_ipython_extension"]


def load_ipython_extension(shell):
    """Adds `%vatic` and `%%vatic` to IPython."""
    from ._magic import Magic

    shell.register_magic_function(Magic(shell), magic_kind="line_cell", magic_name="vatic")
