"""The jars of the broker and Spark: fetched once at set-up, checked against ``jars/sha256.txt`` every time.

``python -m daybook.setup.jars`` is the last step of ``make setup``. Nothing resolves a jar at run time. ``python -m
daybook.setup.jars s3`` (``make setup-s3``) fetches the 69 MB that only a warehouse in a bucket needs.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from daybook.errors import DaybookError
from daybook.files import write_private
from daybook.jobs.jars import JARS_DIR, LIB_DIR, S3_LIB_DIR
from daybook.jobs.java import is_from_wheel, java
from daybook.network import UNKNOWN_ISSUER, java_proxy_options, system_certificates

SHA256_FILE = JARS_DIR / "sha256.txt"
S3_SHA256_FILE = JARS_DIR / "sha256-s3.txt"


@dataclass(frozen=True)
class JarSet:
    """A set of jars that are fetched together."""

    confs: tuple[str, ...]
    """The set's configurations in ``jars/ivy.xml``, each with its own folder."""
    lib: Path
    sha256_file: Path
    target: str
    """The Makefile target that fetches them."""


def every_stack() -> JarSet:
    """Return the jars that every Daybook needs: the broker's and Spark's."""
    return JarSet(("kafka", "spark"), LIB_DIR, SHA256_FILE, "setup")


def for_s3() -> JarSet:
    """Return the additional jars that Spark needs for a warehouse in a bucket."""
    return JarSet(("s3",), S3_LIB_DIR, S3_SHA256_FILE, "setup-s3")


def sums_of(lib: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below the folder, by relative path, in order."""
    files = sorted(path for path in lib.rglob("*") if path.is_file())
    sums: dict[str, str] = {}
    for path in files:
        with path.open("rb") as jar:
            sums[path.relative_to(lib).as_posix()] = hashlib.file_digest(jar, "sha256").hexdigest()
    return sums


def listed_sums(sha256_file: Path = SHA256_FILE) -> dict[str, str]:
    """Return the sums of the committed list, which has the format of ``sha256sum``, in the form of :func:`sums_of`."""
    lines = sha256_file.read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, name in (line.split(maxsplit=1) for line in lines)}


def problems(lib: Path, listed: dict[str, str]) -> list[str]:
    """Return a short text for each file that is missing or differs from the list; empty if all are correct."""
    found = sums_of(lib)
    wrong = [f"{name} is missing" for name in listed if name not in found]
    wrong += [f"{name} is not in the list" for name in found if name not in listed]
    wrong += [f"{name} has another SHA-256" for name in listed if found.get(name, listed[name]) != listed[name]]
    return sorted(wrong)


def _trust_of_this_machine(into: Path, certificates: Path) -> list[str]:
    """Return options that make Java trust the certificate authorities of a PEM file instead of its own."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption
    from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12Certificate, serialize_java_truststore

    with warnings.catch_warnings():
        # the library warns about serial numbers of old authorities; the reader need not see that
        warnings.simplefilter("ignore")
        known = x509.load_pem_x509_certificates(certificates.read_bytes())
    # Java cannot read a store without a password; this one holds nothing secret
    password = "public"
    store = into / "authorities.p12"
    entries = [PKCS12Certificate(authority, f"authority {number}".encode()) for number, authority in enumerate(known)]
    store.parent.mkdir(parents=True, exist_ok=True)
    store.write_bytes(serialize_java_truststore(entries, BestAvailableEncryption(password.encode())))
    return [f"-Djavax.net.ssl.trustStore={store}", f"-Djavax.net.ssl.trustStorePassword={password}"]


def fetch(into: Path, jar_set: JarSet) -> None:
    """Fetch a set of ``jars/ivy.xml`` through the Ivy that ships in pyspark, as ``<conf>/<name>-<version>.jar``.

    Ivy's cache is next to the result, never in the user's home.

    Raises:
        DaybookError: Ivy could not fetch all of them.
    """
    import pyspark

    (ivy,) = (Path(pyspark.__file__).parent / "jars").glob("ivy-*.jar")
    started = time.monotonic()
    certificates = system_certificates()
    # the wheel's Java has its own list of authorities; a Java of the machine mostly uses the machine's list
    trust = _trust_of_this_machine(into, certificates) if certificates and is_from_wheel() else []
    # it holds a proxy's password, so it is a file: every user can read a command line
    options = write_private(into / "java-options", "".join(f"{_quoted(one)}\n" for one in java_proxy_options()))
    arguments = [f"@{options}", f"-Divy.default.ivy.user.dir={into / 'ivy'}", "-jar", str(ivy)]
    arguments += ["-settings", str(JARS_DIR / "ivysettings.xml"), "-ivy", str(JARS_DIR / "ivy.xml")]
    arguments += ["-confs", *jar_set.confs]
    arguments += ["-retrieve", str(into / "lib" / "[conf]" / "[artifact]-[revision].[ext]"), "-types", "jar", "bundle"]
    total = len(listed_sums(jar_set.sha256_file))
    status, done, output = _run_ivy([str(java()), *trust, *arguments], started, total)
    is_untrusted = status != 0 and any(UNKNOWN_ISSUER.search(line) for line in output)
    if is_untrusted and certificates and not trust:
        sys.stdout.write(
            f"jars: the issuer of the repository's certificate is unknown to Java; trying {certificates}\n"
        )
        trust = _trust_of_this_machine(into, certificates)
        status, done, output = _run_ivy([str(java()), *trust, *arguments], started, total)
    if status != 0:
        # Ivy ends its output with a summary of the jars that it could not find
        reasons = [line for line in output if re.search("not found|refused|timed out|Exception|UnknownHost", line)]
        reason = reasons[-1] if reasons else (output or ["no output"])[-1]
        advice = (
            f"the certificate's issuer is not in {certificates or 'any file of certificates'}; name a PEM file that "
            f"has it: SSL_CERT_FILE=FILE make {jar_set.target}"
            if is_untrusted
            else f"run `make {jar_set.target}` again"
        )
        raise DaybookError(f"jars: Ivy fetched {done} of {total} and stopped: {reason}; {advice}")
    sys.stdout.write(f"{'jars':<9}{time.monotonic() - started:4.0f} s\n")


def _quoted(option: str) -> str:
    """Quote an option for Java's argument file."""
    return '"' + option.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _run_ivy(command: list[str], started: float, total: int) -> tuple[int, int, list[str]]:
    """Run Ivy; return its exit status, the number of fetched jars, and its other output."""
    on_terminal = sys.stdout.isatty()
    done = 0
    output: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout or ():
            if "[SUCCESSFUL" in line:
                done += 1
                if on_terminal:
                    sys.stdout.write(f"\r{'jars':<9}{time.monotonic() - started:4.0f} s  {done} of {total}")
                    sys.stdout.flush()
            elif line.strip(" .\n"):
                output.append(line.strip())
    if on_terminal:
        sys.stdout.write("\r\x1b[2K")
    return process.returncode, done, output


def install(jar_set: JarSet) -> None:
    """Check that the jars of a set are present and correct; fetch them again if not.

    Raises:
        DaybookError: the fetched jars differ from the list. They are removed, so no wrong jar is left in place.
    """
    lib, listed = jar_set.lib, listed_sums(jar_set.sha256_file)
    wrong = problems(lib, listed)
    if not wrong:
        return
    if lib.exists():
        sys.stdout.write(f"jars: {wrong[0]}{f' and {len(wrong) - 1} more' if wrong[1:] else ''}; fetching all again\n")
    # in the venv, which is on the checkout's file system: a clone needs nothing outside its own folder
    work = Path(sys.prefix) / "jars-fetched"
    shutil.rmtree(work, ignore_errors=True)
    try:
        fetch(work, jar_set)
        if wrong := problems(work / "lib", listed):
            raise DaybookError(
                f"jars: {', '.join(wrong)}, compared with jars/{jar_set.sha256_file.name}; the fetched files "
                "were removed"
            )
        shutil.rmtree(lib, ignore_errors=True)
        (work / "lib").rename(lib)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _relist(jar_set: JarSet) -> None:
    work = Path(sys.prefix) / "jars-fetched"
    fetch(work, jar_set)
    lines = (f"{digest}  {name}\n" for name, digest in sums_of(work / "lib").items())
    jar_set.sha256_file.write_text("".join(lines), encoding="utf-8")
    shutil.rmtree(work)


def main(arguments: Sequence[str]) -> int:
    """Install the jars, or those for ``s3``; with ``relist``, rewrite the lists of sums from ``ivy.xml`` first."""
    try:
        if list(arguments) == ["relist"]:
            for jar_set in (every_stack(), for_s3()):
                _relist(jar_set)
        if list(arguments) == ["s3"]:
            install(for_s3())
        else:
            install(every_stack())
    except DaybookError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
