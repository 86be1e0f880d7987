"""A `vatic serve` of this process: on a free loopback port, with a login that only this process knows."""

import os
import secrets
import shutil
import subprocess
import sysconfig
import tempfile
import weakref
from pathlib import Path

# A program that works alone has no need of a server's limits, and a page would want a login that nobody has.
DEFAULTS = {"--statement-timeout": "604800", "--training-timeout": "2592000", "--token-idle": "2592000", "--http": "off"}
STOP_S = 10


def program():
    """The program that the wheel installed."""
    user = sysconfig.get_preferred_scheme("user")
    # Where pip install, pip install --user and pip install --target put programs.
    folders = [sysconfig.get_path("scripts"), sysconfig.get_path("scripts", user), Path(__file__).parents[1] / "bin"]
    suffix = sysconfig.get_config_var("EXE") or ""
    for folder in folders:
        path = Path(folder) / f"vatic{suffix}"
        if path.is_file():
            return str(path)
    found = shutil.which("vatic")
    if found is None:
        raise FileNotFoundError("the program vatic is not installed; pip install vatic brings it")
    return found


class Server:
    """A running server. It ends with the last connection to it, or with this process, however that ends: the server stops when its
    standard input does, and this process holds that open."""

    def __init__(self, data_dir, roots, flags):
        self.user, self.password = "python", secrets.token_urlsafe(32)
        with tempfile.TemporaryDirectory(prefix="vatic-python-") as folder:
            path = Path(folder) / "users.toml"
            add = [program(), "user", "add", "--users", path, "--admin", self.user]
            subprocess.run(add, input=self.password, text=True, check=True, capture_output=True)
            users = path.open("rb")
        given = {flag.partition("=")[0] for flag in flags}
        defaults = [part for flag, value in DEFAULTS.items() if flag not in given for part in (flag, value)]
        # The file has no name any more, so nothing is left of it if this process is killed.
        command = [program(), "serve", "--listen", "127.0.0.1:0", "--stop-with-stdin", "--users", f"/dev/fd/{users.fileno()}"]
        command += ["--data-dir", data_dir, *defaults, *(part for root in roots for part in ("--root", root)), *flags]
        with users, tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                pass_fds=[users.fileno()],
                start_new_session=True,  # Ctrl-C is for this process.
            )
            self._end = weakref.finalize(self, _end, process, os.getpid())
            line = process.stdout.readline().decode()
            if " listens at " not in line:
                self._end()
                log.seek(0)
                said = log.read().decode(errors="replace").strip().removeprefix("error: ")
                raise RuntimeError(f"vatic serve does not start: {said}")
        self.uri = line.split()[-1]


def _end(process, owner):
    if os.getpid() != owner:  # A fork; the server belongs to its parent.
        return
    process.stdin.close()
    for signal in (process.terminate, process.terminate, process.kill):
        try:
            process.wait(STOP_S)
            break
        except subprocess.TimeoutExpired:
            signal()
    process.stdout.close()
