"""What the container files promise, as far as it can be seen without an engine; `docker/check` does the rest."""

import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
COMPOSE_FILES = ("docker-compose.yml", "docker/compose.gpu.yml", "docker/compose.lan.yml")
ENVIRONMENT = (ROOT / ".env.example").read_text(encoding="utf-8")
SHOWN = dict(re.findall(r"^#([A-Z_]+)=(.*)$", ENVIRONMENT, flags=re.M))
IN_CONTEXT = ("LICENSE", "README.md", "app", "cli", "configs", "constraints.txt", "data", "model")
IN_CONTEXT += ("pyproject.toml", "training")


def stages() -> dict[str, list[str]]:
    """Stage -> its instructions, those of the stages it stands on first; no remarks."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in DOCKERFILE.splitlines():
        if match := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            current = found[match[2]] = list(found.get(match[1], ()))
        elif line.strip() and not line.lstrip().startswith("#"):
            current.append(" ".join(line.split()))
    return found


def copied(stage: str) -> set[str]:
    """What a stage takes from the build context, also by way of the stages it copies from."""
    sources: set[str] = set()
    for line in stages()[stage]:
        words = line.split()
        if words[0] != "COPY":
            continue
        if words[1].startswith("--from="):
            sources |= copied(words[1].removeprefix("--from="))
        else:
            sources |= set(words[1:-1])
    return sources


def ran(stage: str) -> str:
    """What runs in a stage and in those it copies from."""
    lines = stages()[stage]
    before = [ran(match[1]) for line in lines if (match := re.match(r"COPY --from=(\S+)", line))]
    return "\n".join([*before, *(line for line in lines if line.startswith("RUN "))])


def services(name: str) -> dict[str, dict[str, Any]]:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))["services"]


def variables(text: str) -> dict[str, str]:
    """What a compose file asks of the environment -> its default there."""
    return dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", text))


class TestDockerfile:
    @pytest.mark.parametrize("target", ["serve", "train"])
    def test_each_target_runs_as_a_fixed_user_and_stops_by_sigterm(self, target: str) -> None:
        lines = stages()[target]
        assert "USER 1000:1000" in lines
        assert "STOPSIGNAL SIGTERM" in lines
        assert 'ENTRYPOINT ["segnet"]' in lines
        assert lines[-1].startswith("CMD [")

    def test_serve_has_no_training_library_and_no_room_that_needs_one(self) -> None:
        assert not copied("serve") & {"training", "configs", "."}
        assert {"app", "cli", "data", "model"} <= copied("serve")
        assert "[train" not in ran("serve")
        assert "torch" not in ran("serve")

    def test_train_has_what_serve_has_and_training(self) -> None:
        assert copied("serve") | {"training", "configs"} == copied("train")
        assert ".[train$" in ran("train")

    def test_serve_is_healthy_when_it_is_ready(self) -> None:
        (check,) = (line for line in stages()["serve"] if line.startswith("HEALTHCHECK"))
        assert "/readyz" in check
        assert "urllib.request" in check

    @pytest.mark.parametrize("target", ["serve", "train"])
    def test_packages_are_installed_before_the_code_is_copied(self, target: str) -> None:
        """Or every change of a line would install them all anew."""
        packages = stages()[f"{target}-packages"]
        assert copied(f"{target}-packages") == {"pyproject.toml", "constraints.txt"}
        assert any("--constraint constraints.txt" in line for line in packages)
        lines = [line for line in stages()[target] if line.startswith("COPY")]
        assert lines[:2] == [
            f"COPY --from={target}-packages /opt/venv /opt/venv",
            f"COPY --from={target}-code /code /opt/venv",
        ]

    def test_it_needs_no_buildkit(self) -> None:
        assert not re.search(r"--mount=|--chmod=|--link|<<|# *syntax=", DOCKERFILE)


class TestBuildContext:
    @staticmethod
    def is_sent(path: str) -> bool:
        """Docker's rule: the last pattern that matches a path or a folder above it decides."""
        sent = True
        parents = ["/".join(path.split("/")[:depth]) for depth in range(1, path.count("/") + 2)]
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
            if not line or line.startswith("#"):
                continue
            pattern = line.removeprefix("!")
            anywhere = pattern.removeprefix("**/")
            names = path.split("/") if anywhere != pattern else parents
            if any(fnmatch(name, anywhere) for name in names):
                sent = line.startswith("!")
        return sent

    @pytest.mark.parametrize(
        "path",
        [
            ".env", ".git/config", ".venv/bin/python", "docs/containers.md", "runs/first/model.onnx",
            "tests/conftest.py", "workspace/keys/keys.txt", "app/__pycache__/main.cpython-311.pyc",
            "data/stale.pyc",
        ],
    )  # fmt: skip
    def test_what_no_image_needs_stays_out(self, path: str) -> None:
        assert not self.is_sent(path)

    def test_what_the_dockerfile_copies_is_let_in_and_nothing_else(self) -> None:
        assert {path.name for path in ROOT.iterdir() if self.is_sent(path.name)} == set(IN_CONTEXT)
        assert copied("train") == set(IN_CONTEXT)

    def test_what_lies_in_a_package_comes_along(self) -> None:
        assert self.is_sent("app/static/index.html")
        assert self.is_sent("data/templates/base.html.j2")


class TestCompose:
    @pytest.mark.parametrize("name", sorted(services("docker-compose.yml")))
    def test_every_service_is_confined(self, name: str) -> None:
        service = services("docker-compose.yml")[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["user"] == "${SEGNET_UID:-1000}:${SEGNET_GID:-1000}"
        assert [mount.split(":")[0] for mount in service["tmpfs"]] == ["/tmp"]
        assert "privileged" not in service

    def test_the_api_has_limits_and_comes_back_by_itself(self) -> None:
        api = services("docker-compose.yml")["api"]
        assert {"cpus", "mem_limit", "healthcheck", "stop_grace_period"} <= set(api)
        assert api["restart"] == "unless-stopped"
        assert api["build"]["target"] == "serve"
        # The store's history alone is written to: a champion that fails at work is rolled back there.
        written = [volume for volume in api["volumes"] if not volume.endswith(":ro")]
        assert written == ["${SEGNET_WORKSPACE:-./workspace}/models:/models"]

    def test_without_keys_the_api_answers_this_machine_alone(self) -> None:
        api = services("docker-compose.yml")["api"]
        assert "--insecure" in api["command"]
        assert [port.split(":")[0] for port in api["ports"]] == ["127.0.0.1"]
        lan = services("docker/compose.lan.yml")["api"]
        assert lan["command"] == ["serve"]
        assert lan["environment"]["SEGNET_KEYS_FILE"]

    def test_a_stop_leaves_time_to_drain(self) -> None:
        grace_s = int(services("docker-compose.yml")["api"]["stop_grace_period"].removesuffix("s"))
        assert grace_s > Settings.model_fields["drain_s"].default

    @pytest.mark.parametrize("name", ["inspect", "keys", "models", "train", "retrain"])
    def test_a_job_starts_only_when_called_and_reaches_no_network(self, name: str) -> None:
        job = services("docker-compose.yml")[name]
        assert job["profiles"] == ["jobs"]
        assert job["network_mode"] == "none"
        assert job["healthcheck"] == {"disable": True}
        assert "restart" not in job

    def test_the_api_serves_the_champion_that_retraining_promotes(self) -> None:
        found = services("docker-compose.yml")
        assert found["api"]["environment"]["SEGNET_MODEL"] == "${SEGNET_MODEL:-store://champion}"
        assert found["retrain"]["entrypoint"] == ["segnet", "retrain"]
        workspace = "${SEGNET_WORKSPACE:-./workspace}"
        assert f"{workspace}/models:/models" in found["api"]["volumes"]
        assert found["retrain"]["volumes"] == [f"{workspace}:/workspace"]

    def test_the_gpu_file_asks_for_a_gpu_and_does_without_none(self) -> None:
        gpu = services("docker/compose.gpu.yml")
        for name in ("api", "inspect", "train", "retrain"):
            (device,) = gpu[name]["deploy"]["resources"]["reservations"]["devices"]
            assert (device["driver"], "gpu" in device["capabilities"]) == ("nvidia", True)
        assert gpu["api"]["environment"]["SEGNET_REQUIRE_DEVICE"] == "true"
        assert "--require-device" in gpu["inspect"]["command"]
        assert gpu["api"]["build"]["args"] == {"DEVICE": "gpu"}

    def test_every_setting_of_the_service_is_handed_on(self) -> None:
        api = services("docker-compose.yml")["api"]
        names = {name for name in api["environment"] if name.startswith("SEGNET_")}
        assert names == {f"SEGNET_{name.upper()}" for name in Settings.model_fields}


class TestEnvironment:
    def test_it_shows_every_variable_with_its_default(self) -> None:
        asked: dict[str, str] = {}
        for name in COMPOSE_FILES:
            asked |= variables((ROOT / name).read_text(encoding="utf-8"))
        assert asked
        defaults = {name: default for name, default in asked.items() if default}
        assert {name: SHOWN.get(name) for name in defaults} == defaults
        assert set(SHOWN) == set(asked)

    def test_defaults_that_are_the_services_own_are_told_right(self) -> None:
        compose = variables((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
        for field, info in Settings.model_fields.items():
            name = f"SEGNET_{field.upper()}"
            if compose.get(name) == "":
                shown = SHOWN[name] or None
                told = Settings.model_validate({"model": "m.onnx", field: shown}) if shown else None
                assert (getattr(told, field) if told else None) == info.default, name

    def test_every_variable_stands_under_a_remark(self) -> None:
        remark = False
        for line in ENVIRONMENT.splitlines():
            if re.match(r"#[A-Z_]+=", line):
                assert remark, line
            else:
                remark = line.startswith("# ") and not line.startswith("# ---")
