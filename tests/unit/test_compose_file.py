"""docker-compose.yaml and the Dockerfile, read as text: the rules that can be checked without an engine."""

from __future__ import annotations

import configparser
import hashlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from daybook import airflow_client
from daybook.secret_names import names_a_secret
from daybook.settings import REPOSITORY, Settings
from daybook.stack import airflow

FILE = REPOSITORY / "docker-compose.yaml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ON_DEMAND = {"daybook", "prepare"}
LAPTOP_MEGABYTES = 7 * 1024
each_service = pytest.mark.parametrize("name", SERVICES)


def _environment(service: dict[str, Any]) -> dict[str, str]:
    return dict(service.get("environment") or {})


def _megabytes(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([mg])", text).groups()  # type: ignore[union-attr]  # a test fails either way
    return int(number) * (1024 if unit == "g" else 1)


@each_service
def test_a_port_is_published_on_loopback_alone(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert str(port).startswith("127.0.0.1:"), port


@each_service
def test_a_part_has_no_rights_and_limits(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert _megabytes(service["mem_limit"]) >= 128
    assert service.get("read_only") or name == "kafka", "kafka's image writes its configuration at each start"


@each_service
def test_a_part_that_stays_up_can_be_asked_whether_it_is_healthy(name: str) -> None:
    in_image = name == "game_api" and "HEALTHCHECK" in (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    assert "healthcheck" in SERVICES[name] or in_image or name in ON_DEMAND


def test_all_that_stays_up_fits_a_laptop_of_8_gb() -> None:
    limits = {
        name: _megabytes(service["mem_limit"])
        for name, service in SERVICES.items()
        if name not in ON_DEMAND and not service.get("profiles")
    }
    assert sum(limits.values()) <= LAPTOP_MEGABYTES, limits
    message = re.search(r"Memory limits sum up to ([\d.]+) GB", FILE.read_text(encoding="utf-8"))
    assert message is not None
    assert float(message[1]) == round(sum(limits.values()) / 1024, 1)


def test_runs_build_live_traffic_unless_a_number_is_set(
    monkeypatch: pytest.MonkeyPatch, own_settings: Settings
) -> None:
    for name, value in _environment(SERVICES["airflow-scheduler"]).items():
        monkeypatch.setenv(name, "" if value.startswith("${") else value)
    assert Settings().events_of_a_run == 0
    monkeypatch.setenv("DAYBOOK_GENERATED_EVENTS", "500")  # from .env; a value in the Compose file would win
    assert Settings().events_of_a_run == 500


@each_service
def test_every_setting_is_one(name: str) -> None:
    known = {f"DAYBOOK_{field.upper()}" for field in Settings.model_fields}
    used = {variable for variable in _environment(SERVICES[name]) if variable.startswith("DAYBOOK_")}
    assert used <= known


def test_the_variables_of_the_file_are_settings_that_have_a_default_in_it() -> None:
    used = re.findall(r"\$\{(\w+)(:-\w*)?\}", FILE.read_text(encoding="utf-8"))
    assert used
    for variable, default in used:
        if not variable.startswith("DAYBOOK_"):  # used by the profile `monitoring`
            assert default, variable
            continue
        field = Settings.model_fields[variable.removeprefix("DAYBOOK_").lower()]
        assert default in (":-", f":-{field.default}"), "empty: the setting's own default"


def test_no_secret_is_in_the_file(tmp_path: Path) -> None:
    subprocess.run([sys.executable, REPOSITORY / "docker" / "make_secrets.py", tmp_path / "made"], check=True)
    made = {path.name for path in (tmp_path / "made").iterdir() if path.is_file()}
    assert {name: Path(where["file"]).name for name, where in COMPOSE["secrets"].items()} == {one: one for one in made}
    for service in SERVICES.values():
        for variable, value in _environment(service).items():
            is_file = variable.endswith("_FILE") and str(value).startswith(("/run/secrets/", "/run/intake/"))
            assert is_file or not re.search("PASSWORD|SECRET|KEY", variable), variable
            assert not re.search(r"://[^/@]*:[^/@]*@", str(value)), f"{variable} has a password in its URI"
    ignored = subprocess.run(["git", "check-ignore", "docker/secrets/pgpass"], cwd=REPOSITORY, check=False)
    assert ignored.returncode == 0


def test_secrets_are_made_once_and_only_their_user_may_enter_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    make = [sys.executable, str(REPOSITORY / "docker" / "make_secrets.py"), str(folder)]

    def made() -> dict[str, str]:
        subprocess.run(make, check=True)
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {path.name: path.read_text(encoding="utf-8") for path in files}

    first = made()
    (folder / "generator_key").unlink()
    again = made()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {name for name in first if first[name] != again[name]} == {"generator_key", "api_keys"}
    digest = hashlib.sha256(again["generator_key"].strip().encode()).hexdigest()
    assert again["api_keys"] == f"{first['api_keys']}generator {digest}\n", "games' lines stay, the new key is known"
    assert len(set(first.values())) == len(first)
    # the container's user differs from the user who edits the file
    assert oct((folder / "intake").stat().st_mode & 0o777) == "0o755"
    assert oct((folder / "intake" / "api_keys").stat().st_mode & 0o777) == "0o644"
    # its place before it had its own folder
    (folder / "intake" / "api_keys").rename(folder / "api_keys")
    assert made() == again
    assert not (folder / "api_keys").exists()


def test_the_games_keys_are_mounted_with_their_folder() -> None:
    """An editor replaces a file; a container that mounted the old file would still accept revoked keys."""
    intake = SERVICES["game_api"]
    [mounted] = intake["volumes"]
    source, target, mode = mounted.split(":")
    assert (source, mode) == ("./docker/secrets/intake", "ro")
    assert Path(_environment(intake)["DAYBOOK_API_KEYS_FILE"]).parent == Path(target)
    for name, service in SERVICES.items():
        files = [str(one).split(":")[0] for one in service.get("volumes", []) if str(one).startswith("./")]
        # no other secret is mounted, and no file that is edited while its service runs
        assert name == "game_api" or not [one for one in files if "secrets" in one]


SECRET_SETTINGS = [
    f"DAYBOOK_{name.upper()}" for name, one in Settings.model_fields.items() if "Secret" in str(one.annotation)
]


def test_the_intake_sees_its_own_settings_alone() -> None:
    intake = SERVICES["game_api"]
    assert "env_file" not in intake
    assert "secrets" not in intake
    assert not [name for name in _environment(intake) if name in SECRET_SETTINGS or names_a_secret(name)]
    text = "".join(file.read_text(encoding="utf-8") for file in (REPOSITORY / "services" / "game_api").glob("*.py"))
    used = {f"DAYBOOK_{name.upper()}" for name in Settings.model_fields if re.search(rf"settings\.{name}\b", text)}
    assert used - set(_environment(intake)) == set(), "a setting that the intake uses does not reach it"


def test_intake_and_landing_agree_on_what_an_event_is_and_where_it_goes() -> None:
    """``.env`` passes every setting to Airflow's services.

    The intake gets its settings by name; for these, the shell's values win.
    """
    for name in ("DAYBOOK_KAFKA_TOPIC", "DAYBOOK_ITEMS", "DAYBOOK_FUTURE_TOLERANCE_MINUTES"):
        values = {
            _environment(SERVICES[part]).get(name) for part in ("game_api", "airflow-scheduler", "daybook", "prepare")
        }
        assert values == {f"${{{name}:-}}"}


def test_whom_to_notify_is_known_only_where_failures_are_noticed() -> None:
    names = {name for name, service in SERVICES.items() if _environment(service).get("DAYBOOK_NOTIFY_URLS")}
    assert names == {"airflow-scheduler", "airflow-dag-processor", "airflow-triggerer"}
    for name, service in SERVICES.items():
        # a set value wins over the file
        assert not service.get("env_file") or "DAYBOOK_NOTIFY_URLS" in _environment(service), name


def test_airflow_has_other_settings_only_where_containers_differ(own_settings: Settings) -> None:
    """``airflow.cfg`` of the embedded Airflow also applies to Compose, which reads the same file."""
    airflow.write_config(own_settings.model_copy(update={"airflow_server_url": "http://airflow-apiserver:8080"}))
    written = configparser.ConfigParser(interpolation=None)
    written.read(airflow_client.airflow_home(own_settings) / "airflow.cfg")
    assert not written.has_option("database", "sql_alchemy_conn")
    assert written["core"]["execution_api_server_url"] == "http://airflow-apiserver:8080/execution/"
    names = {name for name in _environment(SERVICES["airflow-scheduler"]) if name.startswith("AIRFLOW__")}
    assert names == {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC",
        "AIRFLOW__API__HOST",
        "AIRFLOW__API__BASE_URL",
    }


def test_each_image_takes_its_packages_from_the_lock_and_no_more_than_its_extras() -> None:
    text = re.sub(r"\\\n\s*", "", (REPOSITORY / "Dockerfile").read_text(encoding="utf-8"))
    installs = re.findall(r"uv pip install (.*)", text)
    assert installs
    for one in installs:
        locked = "--constraint requirements.lock --requirements pyproject.toml" in one
        itself = "--no-deps" in one and "--build-constraints requirements.lock" in one
        assert locked or itself, one
    api = re.search(r"AS api-packages\nRUN (.*)", text)
    assert api is not None
    assert re.findall(r"--extra (\w+)", api[1]) == ["api"]


def test_images_used_by_tag_are_listed_as_such() -> None:
    """The docs claim hashes for jars and Python packages; a pinned image must leave the page's list."""
    dockerfile = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    images = {one["image"] for one in SERVICES.values() if not one["image"].startswith("daybook-")}
    images |= {name for name in re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE) if ":" in name}
    by_tag = {image.partition(":")[0].rpartition("/")[2] for image in images if "@sha256:" not in image}
    page = (REPOSITORY / "docs" / "compose.md").read_text(encoding="utf-8")
    [message] = re.findall(r"Images of others \(([^)]+)\) are taken by their tag", page)
    assert {name.strip().lower().replace("postgresql", "postgres") for name in message.split(",")} == by_tag
    assert ("openjdk" in dockerfile) == ("Debian's Java by its name" in page)
    assert "everything fetched, by hash" not in (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_the_intake_reaches_kafka_and_no_other_part_that_stays_up() -> None:
    beside = {
        name
        for name, service in SERVICES.items()
        if "intake" in service["networks"] and name not in ON_DEMAND and not service.get("profiles")
    }
    assert beside == {"game_api", "kafka", "airflow-scheduler"}
    assert SERVICES["game_api"]["networks"] == ["intake"]
    assert "CONTROLLER://127.0.0.1:" in SERVICES["kafka"]["environment"]["KAFKA_LISTENERS"]
    # the scheduler itself listens on no port; a driver in it listens only on its address in the backend network
    assert "--skip-serve-logs" in SERVICES["airflow-scheduler"]["command"]
    assert "DAYBOOK_SPARK_CONF" not in _environment(SERVICES["airflow-scheduler"])
    script = (REPOSITORY / "docker" / "with-lake.sh").read_text(encoding="utf-8")
    [probe] = re.findall(r"SPARK_LOCAL_HOSTNAME=\$\(python -c '(.+?)'\)", script, re.DOTALL)
    assert "intake" not in SERVICES["postgres"]["networks"]
    code = probe.replace('"postgres"', '"127.0.0.1"')
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "127.0.0.1\n"
