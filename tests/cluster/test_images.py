"""The images: their scripts run, their Dockerfiles name what exists. Building one needs Docker and is not done here."""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.files import CLUSTER, PROJECT, pinned

IMAGES = CLUSTER / "images"
SCRIPTS = sorted(IMAGES.glob("*.sh"))
DOCKERFILES = sorted(IMAGES.glob("*.Dockerfile"))


def names(path: Path) -> str:
    return path.name


def run(script: str, *arguments: str | Path, **environment: str) -> str:
    command = [IMAGES / script, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"], **environment}
    ).stdout


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    return [(keyword, rest) for keyword, rest in lines]


@pytest.mark.parametrize("script", SCRIPTS, ids=names)
def test_scripts_are_sound(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)
    assert os.access(script, os.X_OK)
    assert script.read_text().splitlines()[0] == "#!/usr/bin/env bash"
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", script], check=True)


@pytest.mark.parametrize("script", SCRIPTS, ids=names)
def test_scripts_refuse_what_they_do_not_know(script: Path) -> None:
    refused = subprocess.run([script, "--nonsense"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "Usage" in refused.stderr
    assert "Usage" in run(script.name, "--help")


def test_python_is_installed_by_the_constraints() -> None:
    lines = run("install-python.sh", "--dry-run", "--extras", "ray", "--with", "boto3,pip", "/there").splitlines()
    constraints = f"-c {PROJECT}/constraints.txt"
    assert lines[0] == "python3.11 -m venv /there"
    assert all(constraints in line for line in lines[1:])
    assert lines[1].endswith(" torch")
    assert lines[2].endswith(f" {PROJECT}[ray] boto3 pip")


def test_torch_may_come_from_elsewhere() -> None:
    lines = run("install-python.sh", "--dry-run", "/there", TORCH_INDEX_URL="https://wheels.example/cpu").splitlines()
    assert lines[1].endswith(" --index-url https://wheels.example/cpu torch")
    assert "wheels.example" not in lines[2]


def test_deepspeed_is_compiled_as_pinned() -> None:
    lines = run("install-deepspeed.sh", "--dry-run", "/there").splitlines()
    (line,) = (line for line in lines if line.endswith("--no-binary deepspeed deepspeed"))
    assert f"-c {PROJECT}/constraints.txt" in line
    assert pinned("deepspeed")


def test_system_packages() -> None:
    lines = run("install-system.sh", "--dry-run", "--compiler").splitlines()
    assert lines[0].startswith("apt-get update")
    assert {"wget", "g++"} <= set(lines[-1].split())
    assert "python3.11" not in lines[-1]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=names)
def test_dockerfiles_have_pinned_bases_and_no_root(dockerfile: Path) -> None:
    found = instructions(dockerfile)
    arguments = dict(rest.split("=", 1) for keyword, rest in found if keyword == "ARG" and "=" in rest)
    for keyword, rest in found:
        if keyword == "FROM":
            image = re.sub(r"\$\{(\w+)\}", lambda name: arguments[name[1]], rest.split()[0])
            # All three numbers: Ray's machines must agree on their Python.
            assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", image)
    assert [rest for keyword, rest in found if keyword == "USER"][-1] == "1000"


def test_images_have_the_same_python() -> None:
    assert len({rest for file in DOCKERFILES for keyword, rest in instructions(file) if "PYTHON_IMAGE=" in rest}) == 1


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=names)
def test_dockerfiles_copy_and_run_what_exists(dockerfile: Path) -> None:
    for keyword, rest in instructions(dockerfile):
        if keyword == "COPY" and "--from" not in rest:
            source = rest.split()[0]
            assert (PROJECT / source).exists()
            assert source == "." or reaches(dockerfile, source)
        for command in rest.split("&&") if keyword == "RUN" else ():
            words = [word for word in shlex.split(command) if not re.match(r"\w+=", word)]
            if words[0].endswith(".sh"):
                assert reaches(dockerfile, f"cluster/images/{Path(words[0]).name}")
                run(Path(words[0]).name, "--dry-run", *words[1:])


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=names)
def test_the_whole_project_reaches_the_build(dockerfile: Path) -> None:
    needed = ["constraints.txt", "pyproject.toml", "README.md", "LICENSE", "videox2l/py.typed", "pipelines/cli/main.py"]
    assert all(reaches(dockerfile, path) for path in needed)
    assert not reaches(dockerfile, "tests/conftest.py")
    assert not reaches(dockerfile, ".git/config")


def reaches(dockerfile: Path, path: str) -> bool:
    """Whether the ignore file beside ``dockerfile`` lets ``path`` into the build; its last rule that fits decides."""
    parents = [path, *(str(parent) for parent in Path(path).parents)][:-1]
    ignored = False
    for line in Path(f"{dockerfile}.dockerignore").read_text().splitlines():
        pattern = line.strip()
        if pattern and not pattern.startswith("#"):
            wanted = pattern.removeprefix("!").removeprefix("**/")
            if any(fnmatch.fnmatch(part, wanted) for part in [*parents, *Path(path).parts[:-1]]):
                ignored = not pattern.startswith("!")
    return not ignored


@pytest.mark.skipif(not os.environ.get("VIDEOX2L_TEST_INSTALL"), reason="takes minutes: set VIDEOX2L_TEST_INSTALL=1")
@pytest.mark.timeout(1800)
def test_what_is_installed_works(tmp_path: Path) -> None:
    # A copy: setuptools leaves its traces beside what it builds.
    source = tmp_path / "source"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if reaches(IMAGES / "cpu.Dockerfile", name) and (PROJECT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, source / name)
    venv = tmp_path / "venv"
    environment = os.environ | {"PYTHON": sys.executable}
    subprocess.run([source / "cluster" / "images" / "install-python.sh", venv], env=environment, check=True)

    def output(*command: str | Path) -> str:
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    # What the entry points import: the command, an ingest, the service, an archive on S3, the dashboard for jobs.
    modules = "pipelines.cli.main, pipelines.ingest.pipeline, pipelines.serve.app, s3fs, ray.dashboard.head"
    output(venv / "bin" / "python", "-c", f"import {modules}")
    assert output(venv / "bin" / "ray", "--version").split()[-1] == pinned("ray")
    assert "--prefill-actors" in output(venv / "bin" / "videox2l", "ingest", "--help")
    # The bundled model came along.
    output(venv / "bin" / "python", "-c", "from videox2l import load_model; load_model('tiny')")
    output(venv / "bin" / "python", "-m", "pip", "check")
