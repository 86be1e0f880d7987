"""The rows of a statement."""

import html

ROWS_SHOWN = 40
TEXT_SHOWN = 60


class Result:
    """The rows of a statement: an Arrow table, whose attributes this has, that becomes a frame of pandas or polars."""

    def __init__(self, table):
        self._table = table

    def arrow(self):
        """The rows as a `pyarrow.Table`."""
        return self._table

    def df(self):
        """The rows as a frame of pandas."""
        return self._table.to_pandas()

    def pl(self):
        """The rows as a frame of polars."""
        import polars

        return polars.from_arrow(self._table)

    def __arrow_c_stream__(self, requested_schema=None):
        return self._table.__arrow_c_stream__(requested_schema)

    def __getattr__(self, name):
        if name == "_table":  # While it is unpickled or copied.
            raise AttributeError(name)
        return getattr(self._table, name)

    def __len__(self):
        return self._table.num_rows

    def _cells(self):
        columns = [column.slice(0, ROWS_SHOWN).to_pylist() for column in self._table.columns]
        return [[_text(value) for value in row] for row in zip(*columns)]

    def _rest(self):
        hidden = self._table.num_rows - ROWS_SHOWN
        return f"{hidden} more rows" if hidden > 0 else ""

    def __repr__(self):
        lines = [self._table.column_names, *self._cells()]
        widths = [max(len(line[place]) for line in lines) for place in range(self._table.num_columns)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]
        lines.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join(filter(None, [*lines, self._rest()]))

    def _repr_html_(self):
        def row(cells, tag):
            return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        body = "".join(row(cells, "td") for cells in self._cells())
        head = row(self._table.column_names, "th")
        return f"<table><thead>{head}</thead><tbody>{body}</tbody></table><p>{self._rest()}</p>"


def _text(value):
    if value is None:
        return "NULL"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = " ".join(str(value).split())
    return text if len(text) <= TEXT_SHOWN else text[: TEXT_SHOWN - 1] + "…"
