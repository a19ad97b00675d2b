"""Set-up: a jar that differs from the list is named and removed; and a test run includes all tests."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import bootstrap
from daybook import network
from daybook.errors import DaybookError
from daybook.jobs.jars import JARS_DIR, LIB_DIR
from daybook.settings import REPOSITORY
from daybook.setup import jars
from tests.integration.secured_broker import Authority
from tests.tls_server import InspectingProxy, TlsServer


@pytest.fixture
def lib(tmp_path: Path) -> Path:
    """Two jars, as set-up installs them."""
    for name in ("kafka/broker-1.jar", "spark/lake-2.jar"):
        path = tmp_path / "lib" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(name.encode())
    return tmp_path / "lib"


def test_jars_as_listed_are_right(lib: Path) -> None:
    assert jars.problems(lib, jars.sums_of(lib)) == []


def test_a_changed_jar_is_named(lib: Path) -> None:
    listed = jars.sums_of(lib)
    (lib / "spark/lake-2.jar").write_bytes(b"something else")
    assert jars.problems(lib, listed) == ["spark/lake-2.jar has another SHA-256"]


def test_a_missing_jar_is_named(lib: Path) -> None:
    listed = jars.sums_of(lib)
    (lib / "kafka/broker-1.jar").unlink()
    assert jars.problems(lib, listed) == ["kafka/broker-1.jar is missing"]


def test_an_extra_jar_is_named(lib: Path) -> None:
    listed = jars.sums_of(lib)
    (lib / "kafka/broker-0.jar").write_bytes(b"the last version, left behind")
    assert jars.problems(lib, listed) == ["kafka/broker-0.jar is not in the list"]


def test_all_of_them_are_missing_from_a_fresh_checkout(tmp_path: Path) -> None:
    assert len(jars.problems(tmp_path / "lib", jars.listed_sums())) == len(jars.listed_sums()) > 0


def test_the_installed_jars_are_the_listed_ones() -> None:
    assert jars.problems(LIB_DIR, jars.listed_sums()) == []


def test_ivy_xml_names_every_listed_jar() -> None:
    text = (JARS_DIR / "ivy.xml").read_text(encoding="utf-8")
    for name in [*jars.listed_sums(), *jars.listed_sums(jars.S3_SHA256_FILE)]:
        folder, _, file = name.partition("/")
        assert any(f'conf="{folder}->default"' in line and file in _file_names(line) for line in text.splitlines()), (
            f"{name} is in its list and not in ivy.xml"
        )


def _file_names(dependency: str) -> list[str]:
    words = dependency.split('"')
    return [f"{words[3]}-{words[5]}.jar"] if len(words) > 6 else []


def test_wrong_jars_from_the_repository_do_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fetch_wrong_ones(into: Path, jar_set: jars.JarSet) -> None:
        for name in jars.listed_sums():
            path = into / "lib" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"tampered with")

    # a test cannot use this part for real: a repository on the network that serves wrong files
    monkeypatch.setattr(jars, "fetch", fetch_wrong_ones)
    monkeypatch.setattr(jars, "LIB_DIR", tmp_path / "lib")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    assert jars.main([]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(f"{name} has another SHA-256" in error for name in jars.listed_sums())
    assert list(tmp_path.rglob("*.jar")) == []


@pytest.fixture
def unsupported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose Python is too old, on a machine without another one; returns uv's list of Pythons, empty."""
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    monkeypatch.setattr(bootstrap, "OWN_PYTHON_DIR", tmp_path / ".python")
    monkeypatch.setenv("PATH", os.defpath if shutil.which("python3.11", path=os.defpath) is None else "")
    listed = tmp_path / "downloads.json"
    listed.write_text("{}")
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", str(listed))
    return listed


def test_an_unsupported_python_without_a_replacement_is_one_line(
    unsupported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    this, advice = (
        "this is Python 3.10; Daybook needs 3.11 to 3.14",
        "Install one and name it: make setup PYTHON=python3.12",
    )
    with pytest.raises(bootstrap.SetupError) as refused:
        bootstrap.use_supported_python()
    assert re.fullmatch(rf"{this}\. .*uv python install failed: .*\. {advice}", str(refused.value))
    assert "\n" not in str(refused.value)
    assert capsys.readouterr().out == "this is Python 3.10; Daybook needs 3.11 to 3.14: uv fetches one into .python\n"
    assert not bootstrap.OWN_PYTHON_DIR.exists()


def test_uv_fetches_a_python_that_fits(unsupported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive is a double, because tests cannot reach its server: it holds a link to this Python."""
    archive = unsupported.with_name("python.tar.gz")
    files = {
        "python/bin/python3.13": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
        "python/lib/python3.13/_sysconfigdata__linux_x86_64-linux-gnu.py": (
            "# system configuration generated and used by the sysconfig module\nbuild_time_vars = {}\n"
        ),
    }
    with tarfile.open(archive, "w:gz") as packed:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), 0o755
            packed.addfile(entry, io.BytesIO(text.encode()))
    machine = {"family": platform.machine(), "variant": None}
    python = {"name": "cpython", "arch": machine, "os": "linux", "libc": "gnu", "major": 3, "minor": 13, "patch": 9}
    python |= {"prerelease": "", "variant": None, "build": "1", "url": archive.as_uri()}
    python["sha256"] = hashlib.sha256(archive.read_bytes()).hexdigest()
    unsupported.write_text(json.dumps({f"cpython-3.13.9-linux-{platform.machine()}-gnu": python}))
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _program, arguments: started.append(arguments))
    bootstrap.use_supported_python()
    [[program, *arguments]] = started
    assert Path(program).is_relative_to(bootstrap.OWN_PYTHON_DIR)
    assert arguments == sys.argv
    message = subprocess.run([program, "-c", "print(42)"], capture_output=True, text=True, check=True)
    assert message.stdout == "42\n"
    assert bootstrap.fetch_python() == program, "it is fetched once"


def test_the_installer_comes_with_its_hashes() -> None:
    first, *rest = bootstrap.uv_requirement().splitlines()
    assert first.startswith("uv==")
    assert rest
    assert all("--hash=sha256:" in line for line in rest)


@pytest.fixture
def clean_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No index, certificate or proxy of the machine that runs the tests; the test has its own set-up log."""
    for name in [*os.environ]:
        if re.search("^(PIP|UV)_|CERT|CA_BUNDLE|PROXY$", name.upper()):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    monkeypatch.setattr(bootstrap, "LOG", tmp_path / "setup.log")


@pytest.fixture
def index(tmp_path: Path, clean_shell: None) -> dict[str, bytes]:
    """A package index with one package."""
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny.py", "")
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    page = f'<a href="/{wheel.name}">{wheel.name}</a>'.encode()
    return {"/simple/tiny/": page, f"/{wheel.name}": wheel.read_bytes()}


def installers(url: str, into: Path) -> dict[str, list[str]]:
    """The commands of set-up, with one package from another index."""
    wanted = ["--no-deps", "--index-url", f"{url}/simple", "--target", str(into), "tiny==1.0"]
    return {
        "pip": [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", *wanted],
        "uv": [str(Path(sys.executable).with_name("uv")), "pip", "install", "--python", sys.executable, *wanted],
    }


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_an_unknown_issuer_is_looked_for_among_the_systems(
    installer: str,
    index: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With a real TLS index whose certificate authority only this machine knows."""
    authority = Authority(tmp_path / "company")
    with TlsServer(index, *authority.issue("index")) as server:
        command = installers(server.url, tmp_path / "site")[installer]
        monkeypatch.setattr(network, "_BUNDLES", ())
        monkeypatch.setattr(network, "_default_bundle", lambda: None)
        with pytest.raises(
            bootstrap.SetupError, match=r"the system has no certificates: .*SSL_CERT_FILE=FILE make setup$"
        ):
            bootstrap.fetch_step("packages", command)
        monkeypatch.setattr(network, "_BUNDLES", (str(authority.file),))
        capsys.readouterr()
        bootstrap.fetch_step("packages", command)
        assert (tmp_path / "site" / "tiny.py").exists()
        message = [line for line in capsys.readouterr().out.splitlines() if "..." not in line]
        assert len(message) == 2
        assert message[0].endswith(f"the issuer of the server's certificate is unknown; trying {authority.file}")

        other = Authority(tmp_path / "other")
        monkeypatch.setenv("SSL_CERT_FILE", str(other.file))
        shutil.rmtree(tmp_path / "site")
        with pytest.raises(bootstrap.SetupError, match=rf"not in {other.file} either.*SSL_CERT_FILE=FILE make setup$"):
            bootstrap.fetch_step("packages", command)


def test_another_failure_is_not_tried_again(
    index: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = installers("http://127.0.0.1:9", tmp_path / "site")["uv"]  # no server listens there
    with pytest.raises(bootstrap.SetupError, match=r"^packages failed: .*setup\.log"):
        bootstrap.fetch_step("packages", command)
    assert "trying" not in capsys.readouterr().out
    assert (tmp_path / "setup.log").read_text(encoding="utf-8").count("$ ") == 1


@pytest.mark.parametrize("has_own_java", [False, True])
def test_ivy_takes_the_proxy_and_the_certificates_that_pip_takes(
    tmp_path: Path,
    clean_shell: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    has_own_java: bool,
) -> None:
    """Through a real proxy that requires a password and opens the connection to the repository."""
    jar = b"not many classes"
    files = {"/maven2/org/tiny/tiny/1.0/tiny-1.0.jar": jar}
    authority = Authority(tmp_path / "company")
    for name in ("ivysettings.xml",):
        shutil.copy(JARS_DIR / name, tmp_path / name)
    (tmp_path / "ivy.xml").write_text(
        '<ivy-module version="2.0"><info organisation="daybook" module="jars"/>'
        '<configurations><conf name="kafka"/></configurations><dependencies>'
        '<dependency org="org.tiny" name="tiny" rev="1.0" conf="kafka->default"/></dependencies></ivy-module>',
        encoding="utf-8",
    )
    sums = tmp_path / "sha256.txt"
    sums.write_text(f"{hashlib.sha256(jar).hexdigest()}  kafka/tiny-1.0.jar\n", encoding="utf-8")
    monkeypatch.setattr(jars, "JARS_DIR", tmp_path)
    monkeypatch.setattr(jars, "is_from_wheel", lambda: not has_own_java)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    jar_set = jars.JarSet(("kafka",), tmp_path / "lib", sums, "setup")
    with (
        TlsServer(files, *authority.issue("repository", "repo1.maven.org")) as server,
        InspectingProxy(server, "us@er", 'p "w') as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        jars.fetch(tmp_path / "work", jar_set)
        assert (tmp_path / "work" / "lib" / "kafka" / "tiny-1.0.jar").read_bytes() == jar
        assert "repo1.maven.org:443" in proxy.asked
        assert ("trying" in capsys.readouterr().out) == has_own_java
        options = tmp_path / "work" / "java-options"
        assert "proxyPassword" in options.read_text(encoding="utf-8")
        assert options.stat().st_mode & 0o077 == 0

        monkeypatch.setenv("SSL_CERT_FILE", str(Authority(tmp_path / "other").file))
        with pytest.raises(DaybookError, match=r"issuer is not in .*other/ca.pem.*SSL_CERT_FILE=FILE make setup"):
            jars.fetch(tmp_path / "again", jar_set)


def test_hosts_without_a_proxy_stay_without_one(clean_shell: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert network.java_proxy_options() == []
    monkeypatch.setenv("http_proxy", "proxy.corp:3128")
    monkeypatch.setenv("no_proxy", "repo.corp,.lab:8443,10.0.0.1")
    assert network.java_proxy_options() == [
        "-Dhttp.proxyHost=proxy.corp",
        "-Dhttp.proxyPort=3128",
        "-Djdk.http.auth.tunneling.disabledSchemes=",
        "-Dhttp.nonProxyHosts=localhost|127.*|[::1]|repo.corp|*.repo.corp|lab|*.lab|10.0.0.1|*.10.0.0.1",
    ]


def test_the_lock_names_no_index() -> None:
    assert "://" not in bootstrap.LOCK.read_text(encoding="utf-8")


@pytest.mark.parametrize("module", ["airflow", "pandas", "pyiceberg.table", "pyspark.sql.session"])
def test_packages_are_installed_compiled(module: str) -> None:
    found = importlib.util.find_spec(module)
    assert found is not None
    assert found.origin is not None
    # the first import is too late: if bytecode cannot be written, each task would compile its imports
    assert Path(importlib.util.cache_from_source(found.origin)).is_file()


def test_every_test_and_every_example_is_run() -> None:
    """The order of the folders is explicit, so a new folder would be skipped."""
    options = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"][
        "ini_options"
    ]
    run = [one for pattern in options["testpaths"] for one in REPOSITORY.glob(pattern)]
    tracked = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split()
    holding = [path for path in tracked if path.split("/")[-1].startswith("test_")]
    example = re.compile(r"^ *>>> ", re.MULTILINE)
    holding += [path for path in tracked if example.search((REPOSITORY / path).read_text(encoding="utf-8"))]
    assert len(holding) > 50
    assert [path for path in holding if not any((REPOSITORY / path).is_relative_to(one) for one in run)] == []
