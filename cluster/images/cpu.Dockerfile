# For machines without a GPU: the head, decoding, answering on CPUs. Build it from the project's root:
#   docker build -f cluster/images/cpu.Dockerfile -t videox2l-cpu:0.1.0 .

# The same Python in all images: Ray's machines must agree on it. 3.11 is what constraints.txt was tested with.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
COPY . /src
# The build of torch without CUDA: some gigabytes less.
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
RUN PYTHON=python3.11 /src/cluster/images/install-python.sh --extras ray,s3 /opt/videox2l

FROM ${PYTHON_IMAGE}
COPY cluster/images/install-system.sh /tmp/
RUN /tmp/install-system.sh && rm -rf /tmp/install-system.sh /var/lib/apt/lists/*
COPY --from=build /opt/videox2l /opt/videox2l
# Processes without a GPU must not see one; Ray asks that a program says whether it relies on that.
ENV PATH=/opt/videox2l/bin:$PATH RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=1 PYTHONUNBUFFERED=1
RUN useradd --create-home --uid 1000 ray
# By number: Kubernetes cannot tell whether a name is root's.
USER 1000
WORKDIR /home/ray
CMD ["videox2l", "--help"]
