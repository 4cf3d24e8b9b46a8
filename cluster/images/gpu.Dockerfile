# For machines with an NVIDIA GPU: prefill, answering, training. Build it from the project's root, without a GPU:
#   docker build -f cluster/images/gpu.Dockerfile -t videox2l-gpu:0.1.0 .
# The CUDA libraries (13.0) come with torch; the machine brings the driver, release 580 or newer.

# The same Python in all images: Ray's machines must agree on it. 3.11 is what constraints.txt was tested with.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
COPY cluster/images/install-system.sh /tmp/
RUN /tmp/install-system.sh --compiler
COPY . /src
RUN PYTHON=python3.11 /src/cluster/images/install-python.sh --extras ray,s3 /opt/videox2l
ARG TORCH_CUDA_ARCH_LIST=8.0;8.6;8.9;9.0
RUN /src/cluster/images/install-deepspeed.sh /opt/videox2l

FROM ${PYTHON_IMAGE}
COPY cluster/images/install-system.sh /tmp/
RUN /tmp/install-system.sh && rm -rf /tmp/install-system.sh /var/lib/apt/lists/*
COPY --from=build /opt/videox2l /opt/videox2l
# Processes without a GPU must not see one; Ray asks that a program says whether it relies on that. The last tells
# NVIDIA's container runtime what of the driver to bring in.
ENV PATH=/opt/videox2l/bin:$PATH RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=1 PYTHONUNBUFFERED=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN useradd --create-home --uid 1000 ray
# By number: Kubernetes cannot tell whether a name is root's.
USER 1000
WORKDIR /home/ray
CMD ["videox2l", "--help"]
