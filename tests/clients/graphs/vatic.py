"""A script of statements in one process of vatic, for tests that read what it returns or writes."""

import json
import os
import subprocess


def start(folder, statements, *flags):
    """A process that runs statements, with their data in a folder."""
    script = folder / "script.sql"
    script.write_text(";\n".join(statements) + ";\n")
    # Without the user's own configuration.
    environment = os.environ | {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    environment.pop("VATIC_DATA_DIR", None)
    return subprocess.Popen(
        [os.environ["VATIC_BIN"], *flags, "--data-dir", folder / "data", "--format", "nd-json", "-f", script],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )


def run(folder, statements, *flags, timeout_s=600):
    """Runs statements, with their data in a folder. Returns the rows that have a `case_name`, by that name, and the process that ended."""
    process = start(folder, statements, *flags)
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    done = subprocess.CompletedProcess(process.args, process.returncode, out, err)
    rows = {}
    for line in done.stdout.splitlines():
        row = json.loads(line)
        # The others are the rows that statements such as TRAIN and EXPORT return.
        if "case_name" in row:
            rows.setdefault(row.pop("case_name"), []).append(row)
    return rows, done
