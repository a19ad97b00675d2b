"""The jars of the broker and of Spark: fetched once at set-up, checked against ``jars/sha256.txt`` every time.

``python -m daybook.jars`` is the last step of ``make setup``; it makes the archive of their classes too. Nothing
resolves a jar at run time.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import ssl
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

from daybook import class_archive
from daybook.errors import DaybookError
from daybook.java import is_from_wheel, java
from daybook.settings import REPOSITORY

JARS_DIR = REPOSITORY / "jars"
LIB_DIR = JARS_DIR / "lib"
KAFKA_LIB_DIR = LIB_DIR / "kafka"
SPARK_LIB_DIR = LIB_DIR / "spark"
SHA256_FILE = JARS_DIR / "sha256.txt"


def sums_of(lib: Path) -> dict[str, str]:
    """SHA-256 of every file below the folder, by path relative to it, in order."""
    files = sorted(path for path in lib.rglob("*") if path.is_file())
    sums: dict[str, str] = {}
    for path in files:
        with path.open("rb") as jar:
            sums[path.relative_to(lib).as_posix()] = hashlib.file_digest(jar, "sha256").hexdigest()
    return sums


def listed_sums(sha256_file: Path = SHA256_FILE) -> dict[str, str]:
    """What the committed list says, in the same form as :func:`sums_of`; the file is ``sha256sum``'s own format."""
    lines = sha256_file.read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, name in (line.split(maxsplit=1) for line in lines)}


def problems(lib: Path, listed: dict[str, str]) -> list[str]:
    """What is wrong with the jars, one short text for each file; empty if each is there and as listed."""
    found = sums_of(lib)
    wrong = [f"{name} is missing" for name in listed if name not in found]
    wrong += [f"{name} is not in the list" for name in found if name not in listed]
    wrong += [f"{name} has another SHA-256" for name in listed if found.get(name, listed[name]) != listed[name]]
    return sorted(wrong)


def _trust_of_this_machine(into: Path) -> list[str]:
    """Options that make Java trust the certificate authorities that Python does; none if Python knows none.

    The Java in the wheel brings its own list. A company's authority, which this machine was told of, is not in it.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption
    from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12Certificate, serialize_java_truststore

    with warnings.catch_warnings():
        # authorities of long ago have serial numbers that the library frowns upon; nothing to tell the reader
        warnings.simplefilter("ignore")
        known = [x509.load_der_x509_certificate(der) for der in ssl.create_default_context().get_ca_certs(True)]
    if not known:
        return []
    # Java reads no store without a password; there is nothing secret in this one
    password = "public"
    store = into / "authorities.p12"
    entries = [PKCS12Certificate(authority, f"authority {number}".encode()) for number, authority in enumerate(known)]
    store.parent.mkdir(parents=True, exist_ok=True)
    store.write_bytes(serialize_java_truststore(entries, BestAvailableEncryption(password.encode())))
    return [f"-Djavax.net.ssl.trustStore={store}", f"-Djavax.net.ssl.trustStorePassword={password}"]


def fetch(into: Path) -> None:
    """Fetch what ``jars/ivy.xml`` names through the Ivy that ships in pyspark, as ``<conf>/<name>-<version>.jar``.

    Ivy's cache lies beside the result, never in the user's home.

    Raises:
        DaybookError: Ivy could not get them all.
    """
    import pyspark

    (ivy,) = (Path(pyspark.__file__).parent / "jars").glob("ivy-*.jar")
    started = time.monotonic()
    command = [str(java()), f"-Divy.default.ivy.user.dir={into / 'ivy'}"]
    command += _trust_of_this_machine(into) if is_from_wheel() else []
    command += ["-jar", str(ivy)]
    command += ["-settings", str(JARS_DIR / "ivysettings.xml"), "-ivy", str(JARS_DIR / "ivy.xml")]
    command += ["-retrieve", str(into / "lib" / "[conf]" / "[artifact]-[revision].[ext]"), "-types", "jar", "bundle"]
    on_terminal = sys.stdout.isatty()
    total, done = len(listed_sums()), 0
    said: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout or ():
            if "[SUCCESSFUL" in line:
                done += 1
                if on_terminal:
                    sys.stdout.write(f"\r{'jars':<9}{time.monotonic() - started:4.0f} s  {done} of {total}")
                    sys.stdout.flush()
            elif line.strip(" .\n"):
                said.append(line.strip())
    if on_terminal:
        sys.stdout.write("\r\x1b[2K")
    if process.returncode != 0:
        # Ivy prints a summary of what it could not find at its end
        reasons = [line for line in said if re.search("not found|refused|timed out|Exception|UnknownHost", line)]
        reason = reasons[-1] if reasons else (said or ["no output"])[-1]
        raise DaybookError(f"jars: Ivy fetched {done} of {total} and stopped: {reason}; `make setup` tries again")
    sys.stdout.write(f"{'jars':<9}{time.monotonic() - started:4.0f} s\n")


def install(lib: Path) -> None:
    """See that the jars are there and right; fetch them anew if not.

    Raises:
        DaybookError: what was fetched is not what the list says. It is removed, and nothing wrong is left in place.
    """
    wrong = problems(lib, listed_sums())
    if not wrong:
        return
    if lib.exists():
        sys.stdout.write(f"jars: {wrong[0]}{f' and {len(wrong) - 1} more' if wrong[1:] else ''}; fetching all again\n")
    # in the venv, on the same file system as the checkout: a clone needs nothing outside its own folder
    work = Path(sys.prefix) / "jars-fetched"
    shutil.rmtree(work, ignore_errors=True)
    try:
        fetch(work)
        if wrong := problems(work / "lib", listed_sums()):
            raise DaybookError(f"jars: {', '.join(wrong)}, against jars/sha256.txt; the fetched files were removed")
        shutil.rmtree(lib, ignore_errors=True)
        (work / "lib").rename(lib)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def main(arguments: Sequence[str]) -> int:
    """Install the jars; with ``relist``, first fetch what ``ivy.xml`` names now and write the list of sums anew."""
    try:
        if list(arguments) == ["relist"]:
            work = Path(sys.prefix) / "jars-fetched"
            fetch(work)
            lines = (f"{digest}  {name}\n" for name, digest in sums_of(work / "lib").items())
            SHA256_FILE.write_text("".join(lines), encoding="utf-8")
            shutil.rmtree(work)
        install(LIB_DIR)
        class_archive.install()
    except DaybookError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
