#!/usr/bin/env bash
# Installs DeepSpeed into a virtual environment that has a torch with CUDA, and compiles its operators. Left to itself
# DeepSpeed does that on every machine at first use, for minutes of a GPU's time. Needs a C++ compiler, but no GPU.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: install-deepspeed.sh [--dry-run] VENV

  --dry-run   print the commands instead of running them

TORCH_CUDA_ARCH_LIST names the GPUs to compile for (default: A100, A10, L4 and H100), MAX_JOBS how many files at a time.
TEXT
}

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
run=()
venv=
for argument in "$@"; do
    case "$argument" in
        --dry-run) run=(echo) ;;
        --help) usage && exit ;;
        -*) usage >&2 && exit 2 ;;
        *) venv=$argument ;;
    esac
done
[ -n "$venv" ] || { usage >&2 && exit 2; }

pip=("${run[@]}" "$venv/bin/python" -m pip)
install=("${pip[@]}" install --quiet --disable-pip-version-check -c "$project/constraints.txt")

# The compiler comes from the same packages as the CUDA libraries that torch brought, and so in their version. They lack
# the name without a number that a linker looks for.
"${install[@]}" setuptools wheel ninja py-cpuinfo "cuda-toolkit[nvcc,cccl]"
cuda=$(echo "$venv"/lib/python3*/site-packages/nvidia/cu[0-9]*)
"${run[@]}" ln -sf "$(basename "$cuda"/lib/libcudart.so.[0-9]*)" "$cuda/lib/libcudart.so"

# Adam on the GPU, and page-locked memory for offloaded weights. Not Adam on the CPU: that is compiled for the very CPU
# that compiles it, and may crash on others. DS_ACCELERATOR: a machine that builds images has no GPU, and DeepSpeed would
# take it for one without CUDA.
export CUDA_HOME=$cuda DS_ACCELERATOR=cuda DS_BUILD_FUSED_ADAM=1 DS_BUILD_PIN_MEMORY=1
export TORCH_CUDA_ARCH_LIST="${TORCH_CUDA_ARCH_LIST:-8.0;8.6;8.9;9.0}"
PATH=$cuda/bin:$(cd "$(dirname "$venv")" && pwd)/$(basename "$venv")/bin:$PATH
"${install[@]}" --no-build-isolation --no-cache-dir --no-binary deepspeed deepspeed

# What only compiling needs, 200 MB. Then a look whether pip has compiled anything: it leaves a DeepSpeed alone that was
# there before.
"${pip[@]}" uninstall --quiet --yes nvidia-cuda-nvcc nvidia-cuda-crt nvidia-cuda-cccl nvidia-nvvm
"${run[@]}" "$venv/bin/python" -c '
import pathlib, runpy, sysconfig
file = pathlib.Path(sysconfig.get_path("purelib"), "deepspeed", "git_version_info_installed.py")
compiled = runpy.run_path(str(file))["installed_ops"]
missing = [name for name in ("fused_adam", "pin_memory") if not compiled.get(name)]
raise SystemExit(f"DeepSpeed has no compiled {missing}: remove it (pip uninstall deepspeed) and try again" if missing else 0)
'
