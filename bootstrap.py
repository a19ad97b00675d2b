"""Set-up for ``make setup``: creates a complete ``.venv`` and the jars from a checkout and a Python.

Needs only the standard library, because nothing is installed yet. Each step can be repeated: run an interrupted set-up
again to repair it. A complete set-up is recognised by its stamp and only checked.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCK = ROOT / "requirements.lock"
STAMP = VENV / "daybook-setup.stamp"
UNFINISHED = VENV / "daybook-setup.unfinished"
LOG = VENV / "daybook-setup.log"
NOT_COMPILED = (
    r"/tests?/|/site-packages/(pip|setuptools|pkg_resources|mypy|mypyc|sqlfluff|polars|playwright|schemathesis)/"
)
"""What no part of the stack and no task imports: a third of all bytes."""
OLDEST, NEWEST = (3, 11), (3, 14)
"""The Python versions that the lock has wheels for."""
OWN_PYTHON_DIR = ROOT / ".python"
"""Where uv puts a Python if the machine has none of these versions."""


class SetupError(Exception):
    """The set-up cannot continue; the text is one line for the reader."""


def say(line: str) -> None:
    """Print one line to the terminal immediately."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def use_supported_python() -> None:
    """Restart under a supported Python if this one is too old or too new: one of the PATH, else one that uv fetches.

    Raises:
        SetupError: there is no supported Python, and none can be fetched.
    """
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        # a version manager's stub can be on the PATH without an installed Python
        if found and subprocess.call([found, "-c", "import venv"], stderr=subprocess.DEVNULL) == 0:
            os.execv(found, [found, *sys.argv])
    this = f"this is Python {sys.version_info[0]}.{sys.version_info[1]}; Daybook needs 3.{OLDEST[1]} to 3.{NEWEST[1]}"
    say(f"{this}: uv fetches one into {OWN_PYTHON_DIR.name}")
    try:
        fetched = fetch_python()
    except SetupError as error:
        raise SetupError(f"{this}. {error}. Install one and name it: make setup PYTHON=python3.12") from None
    os.execv(fetched, [fetched, *sys.argv])


def fetch_python() -> str:
    """Return a supported Python that uv has fetched, once, into this folder.

    Raises:
        SetupError: uv cannot be installed, or cannot fetch it.
    """
    fetched = sorted(OWN_PYTHON_DIR.glob("cpython-*/bin/python"))
    if fetched:
        return str(fetched[-1])
    with tempfile.TemporaryDirectory(prefix="daybook-uv-") as folder:
        lock = Path(folder) / "uv.txt"
        lock.write_text(uv_requirement(), encoding="utf-8")
        bin_dir = Path(folder) / "venv" / "bin"
        pip = [str(bin_dir / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        asked = f"3.{NEWEST[1] - 1}"  # not the newest: some system libraries may not know it yet
        uv = [str(bin_dir / "uv"), "python", "install", asked, "--install-dir", str(OWN_PYTHON_DIR), "--no-bin"]
        for name, command in (
            ("python -m venv", [sys.executable, "-m", "venv", str(bin_dir.parent)]),
            ("pip install uv", [*pip, "--no-deps", "--require-hashes", "-r", str(lock)]),
            ("uv python install", uv),
        ):
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
            if done.returncode != 0:
                shutil.rmtree(OWN_PYTHON_DIR, ignore_errors=True)
                lines = (done.stderr + done.stdout).strip().splitlines() or ["no output"]
                raise SetupError(f"{name} failed: {' '.join(lines[-1].split())}")
    return str(sorted(OWN_PYTHON_DIR.glob("cpython-*/bin/python"))[-1])


def wanted_stamp() -> list[str]:
    """Return the stamp of a complete set-up: its folder, its Python, and a digest of its inputs."""
    sources = hashlib.sha256()
    for path in (LOCK, ROOT / "pyproject.toml", ROOT / "bootstrap.py"):
        sources.update(path.read_bytes())
    return [f"Python {sys.version_info[0]}.{sys.version_info[1]} in {ROOT}", sources.hexdigest()]


class UntrustedError(SetupError):
    """A command of a step does not trust the issuer of a server's certificate."""


def fetch_step(name: str, command: list[str]) -> None:
    """Run a step that fetches something; use the system's certificates if the command's own lack the issuer.

    Behind a proxy that intercepts TLS, the company's authority, which the system trusts, signs every certificate.

    Raises:
        SetupError: the command failed.
    """
    from daybook.network import system_certificates

    try:
        step(name, command)
    except UntrustedError as error:
        certificates = system_certificates()
        advice = "name a PEM file that has it, SSL_CERT_FILE=FILE make setup"
        if certificates is None:
            raise SetupError(f"{error}; its issuer is unknown, and the system has no certificates: {advice}") from None
        say(f"{name}: the issuer of the server's certificate is unknown; trying {certificates}")
        try:
            # the variables that pip and uv read
            step(name, command, PIP_CERT=str(certificates), SSL_CERT_FILE=str(certificates))
        except UntrustedError:
            raise SetupError(f"{error}; the certificate's issuer is not in {certificates} either: {advice}") from None


def step(name: str, command: list[str], **variables: str) -> None:
    """Run the command of a step; show the seconds and its last line of output, and store the output in the log.

    Args:
        name: name to show.
        command: command to run.
        variables: environment variables in addition to those of this process.

    Raises:
        UntrustedError: the command failed because of a certificate.
        SetupError: the command failed otherwise.
    """
    # imported here, not above: the image's build imports only this file
    from daybook.network import UNKNOWN_ISSUER

    started = time.monotonic()
    on_terminal = sys.stdout.isatty()
    last = [""]
    done = threading.Event()

    def show() -> None:
        while not done.wait(1 if on_terminal else 15):
            seconds = int(time.monotonic() - started)
            if on_terminal:
                width = shutil.get_terminal_size().columns - 1
                sys.stdout.write("\r\x1b[2K" + f"{name:<9}{seconds:4d} s  {last[0]}"[:width])
                sys.stdout.flush()
            else:
                say(f"{name:<9}{seconds:4d} s  ...")

    ticker = threading.Thread(target=show, daemon=True)
    ticker.start()
    try:
        with LOG.open("a", encoding="utf-8") as log:
            log.write(f"\n$ {' '.join(command)}\n")
            # set the venv for pip and uv, so that they do not use another active one
            environment = {**os.environ, "VIRTUAL_ENV": str(VENV), "UV_NO_PROGRESS": "1", "NO_COLOR": "1", **variables}
            is_untrusted = False
            with subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            ) as process:
                for line in process.stdout or ():
                    log.write(line)
                    last[0] = line.strip() or last[0]
                    is_untrusted = is_untrusted or UNKNOWN_ISSUER.search(line) is not None
            if process.returncode != 0:
                kind = UntrustedError if is_untrusted else SetupError
                raise kind(f"{name} failed: {last[0]} (full output: {LOG})")
    finally:
        done.set()
        ticker.join()
        if on_terminal:
            sys.stdout.write("\r\x1b[2K")
    say(f"{name:<9}{time.monotonic() - started:4.0f} s")


def uv_requirement() -> str:
    """Return the lock's entry for uv with its hashes, which pip itself has to install."""
    entry: list[str] = []
    for line in LOCK.read_text(encoding="utf-8").splitlines():
        if line.startswith("uv=="):
            entry = [line]
        elif entry and line.startswith(" "):
            entry.append(line)
        elif entry:
            break
    if not entry:
        raise SetupError(
            "requirements.lock does not list uv; restore the committed file: git checkout requirements.lock"
        )
    return "\n".join(entry) + "\n"


def start_compiling() -> Callable[[], None]:
    """Start to compile the installed packages; return a function that waits for the end and shows the seconds.

    Each task is a new Python process. One that may not write bytecode (PYTHONDONTWRITEBYTECODE) would compile all its
    imports each time: a small day then took 52 s instead of 43. It runs while the jars are fetched.
    """
    started = time.monotonic()
    command = [str(PYTHON), "-m", "compileall", "-qq", "-j", "0", "-x", NOT_COMPILED, str(VENV / "lib")]
    with LOG.open("a", encoding="utf-8") as log:
        log.write(f"\n$ {' '.join(command)}\n")
        log.flush()
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)

    def wait() -> None:
        if process.wait() != 0:
            raise SetupError(f"bytecode failed with status {process.returncode} (full output: {LOG})")
        say(f"{'bytecode':<9}{time.monotonic() - started:4.0f} s")

    return wait


def install() -> Callable[[], None] | None:
    """Make the venv match the lock; None if it does.

    Returns:
        A function that completes the installation; until it is called, the next set-up starts again.
    """
    stamp = STAMP.read_text(encoding="utf-8").splitlines() if STAMP.exists() else []
    wanted = wanted_stamp()
    if stamp == wanted and not UNFINISHED.exists():
        return None
    # a half-written package can look installed, and a moved venv does not work: both are created again
    from_scratch = UNFINISHED.exists() or stamp[:1] not in ([], wanted[:1])
    if from_scratch:
        say("the last set-up was interrupted, or the folder has moved; starting with a new .venv")
    if from_scratch or not (VENV / "bin" / "pip").exists():
        shutil.rmtree(VENV, ignore_errors=True)
        # Debian separates venv and ensurepip: venv's own message names the package that has both
        made = subprocess.run(
            [sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True, errors="replace", check=False
        )
        if made.returncode != 0:
            shutil.rmtree(VENV, ignore_errors=True)
            raise SetupError("python3 -m venv failed: " + " ".join((made.stdout + made.stderr).split()))
    UNFINISHED.touch()
    STAMP.unlink(missing_ok=True)
    LOG.unlink(missing_ok=True)
    with tempfile.NamedTemporaryFile("w", suffix=".txt", dir=VENV) as uv_lock:
        uv_lock.write(uv_requirement())
        uv_lock.flush()
        pip = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check"]
        fetch_step("installer", [*pip, "--no-deps", "--require-hashes", "-r", uv_lock.name])
    uv = [str(VENV / "bin" / "uv"), "pip", "install", "--python", str(PYTHON)]
    fetch_step("packages", [*uv, "--require-hashes", "-r", str(LOCK)])
    # hatchling is in the lock, so the project's own installation needs no network and no second resolution
    step("project", [*uv, "--no-deps", "--no-build-isolation", "-e", str(ROOT)])
    compiled = start_compiling()

    def complete() -> None:
        compiled()
        STAMP.write_text("\n".join(wanted) + "\n", encoding="utf-8")
        UNFINISHED.unlink()

    return complete


def main() -> int:
    """Run the set-up; return the exit status."""
    try:
        use_supported_python()
        with Path(__file__).open(encoding="utf-8") as this_file:
            try:
                fcntl.flock(this_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("another set-up is running in this folder; waiting for it")
                fcntl.flock(this_file, fcntl.LOCK_EX)
            started = time.monotonic()
            complete = install()
            # in a process of the venv: it selects the Java, and it checks the jars on every run
            jars = subprocess.call([str(PYTHON), "-m", "daybook.setup.jars"], cwd=ROOT)
            if complete is not None:
                complete()
            if jars != 0:
                return 1
            say(f"ready in {time.monotonic() - started:.1f} s: .venv/bin/daybook --help")
    except SetupError as error:
        sys.stderr.write(f"setup: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nsetup: interrupted; run `make setup` again to repair it\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
