"""What cluster/README.md tells people to type."""

from __future__ import annotations

import re

import pytest

from tests.cli.commands import run
from tests.cluster.commands import parse, videox2l_commands
from tests.cluster.files import CLUSTER, PROJECT, document
from tests.cluster.test_kubernetes import JOB, SERVICE, SHARED

README = (CLUSTER / "README.md").read_text()
LINES = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]
COMMANDS = [arguments for line in LINES for arguments in videox2l_commands(line)]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_our_commands_are_understood(arguments: list[str]) -> None:
    parse(arguments)


def test_a_wrong_option_is_noticed() -> None:
    (arguments,) = videox2l_commands("ray exec cluster.yaml 'RAY_ADDRESS=auto videox2l ingest a.mp4 --gpus 8' | tee")
    with pytest.raises(Exception, match="--gpus"):
        parse(arguments)


def test_the_job_runs_what_is_shown() -> None:
    assert JOB["spec"]["entrypoint"] in LINES


def test_the_service_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = [line for line in LINES if "--print-config" in line]
    (arguments,) = videox2l_commands(line)
    status, printed, _ = run(capsys, *arguments)
    assert status == 0
    assert printed == SERVICE["spec"]["serveConfigV2"]


def test_files_exist() -> None:
    named = set(re.findall(r"cluster/[\w./-]*\w", README)) | {f"cluster/{path}/" for path in folders()}
    assert len(named) > 10
    assert not [path for path in named if not (PROJECT / path).exists()]
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (CLUSTER / link).exists(), link
    for line in LINES:
        for folder in re.findall(r"kubectl apply -k (\S+)", line):
            assert (PROJECT / folder / "kustomization.yaml").exists()


def folders() -> list[str]:
    tree = re.search(r"^cluster/\n((?:  .*\n)+)", README, re.MULTILINE)
    assert tree is not None
    return re.findall(r"^  (\w+)/", tree[1], re.MULTILINE)


def test_every_folder_is_in_the_tree() -> None:
    assert set(folders()) == {path.name for path in CLUSTER.iterdir() if path.is_dir()}


def test_images_that_are_pushed_are_those_of_the_manifests() -> None:
    pushed = {line.split()[-1] for line in LINES if line.startswith("docker push")}
    assert pushed == {f"{image['newName']}:{image['newTag']}" for image in SHARED["images"]}
    built = {line.split(" -t ")[1].split()[0] for line in LINES if line.startswith("docker build")}
    assert built == pushed


def test_the_operator_is_the_one_whose_fields_are_known() -> None:
    version = re.search(r"kuberay/kuberay-operator --version (\d+\.\d+)\.\d+", README)
    assert version is not None
    assert f"KubeRay {version[1]} " in (PROJECT / "tests" / "cluster" / "kuberay.schema.yaml").read_text()


def test_deepspeed_settings_are_all_explained() -> None:
    assert set(re.findall(r"`([\w-]+\.json)` \|", README)) == {path.name for path in (CLUSTER / "deepspeed").iterdir()}


def test_labels_are_those_of_the_manifests() -> None:
    explained = set(re.findall(r"`videox2l/pool: (\w+)`", README))
    job = document(CLUSTER / "kubernetes" / "ingest" / "job.yaml")["spec"]["rayClusterSpec"]
    service = document(CLUSTER / "kubernetes" / "serving" / "service.yaml")["spec"]["rayClusterConfig"]
    groups = [spec for cluster in (job, service) for spec in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
    assert explained == {group["template"]["spec"]["nodeSelector"]["videox2l/pool"] for group in groups}
