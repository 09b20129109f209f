# The farm as an image, for every node of a cluster: the same code, Ray and models everywhere.
#
#   docker build --build-arg VARIANT=cpu -t REGISTRY/face-farm:0.1.0-ray2.60.0-cpu .     heads, machines without GPUs
#   docker build --build-arg VARIANT=gpu -t REGISTRY/face-farm:0.1.0-ray2.60.0-gpu .     workers with NVIDIA GPUs
#
# Every package comes from requirements.lock (and, for GPUs, deploy/docker/gpu.lock) and is compared with its hash. The
# GPU variant brings CUDA and cuDNN as packages and takes the driver from the machine, through NVIDIA's container
# toolkit. TensorRT is not redistributed: put its wheels for CUDA 13 (a version 10) into deploy/docker/wheels before.
ARG BASE=debian:bookworm-slim

# What both stages stand on: Debian's Python 3.11, the version that requirements.lock is made for.
FROM ${BASE} AS base
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates python3.11 \
 && rm -rf /var/lib/apt/lists/*

FROM base AS build
ARG VARIANT=cpu
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3.11-venv \
 && rm -rf /var/lib/apt/lists/*
RUN python3.11 -m venv /opt/farm
ENV PATH=/opt/farm/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY requirements.lock ./
COPY deploy/docker ./deploy/docker
# Packages first: they change less often than the code. `setuptools` is what builds the last one.
RUN python deploy/docker/runtime.py requirements.lock --variant ${VARIANT} > /tmp/runtime.lock \
 && pip install --no-deps --require-hashes --only-binary :all: --requirement /tmp/runtime.lock \
 && pip install --no-deps --require-hashes --only-binary :all: --requirement deploy/docker/launch.lock \
 && if [ "${VARIANT}" = gpu ]; then \
      pip install --no-deps --require-hashes --only-binary :all: --requirement deploy/docker/gpu.lock \
   && find deploy/docker/wheels -name '*.whl' -exec pip install --no-deps --no-index {} +; \
    fi
COPY pyproject.toml README.md LICENSE ./
COPY core ./core
COPY actors ./actors
COPY farm ./farm
COPY models ./models
RUN pip install --no-deps --no-build-isolation --no-index . \
 && farm models pull --cache /opt/models \
 && pip uninstall --yes setuptools pip

FROM base AS farm
# openssh-client, rsync: how Ray's launcher brings up workers from the head. wget: KubeRay's probes. tmux: a render that
# outlives the SSH session it was started in.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends openssh-client procps rsync tmux wget \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 1000 --create-home --shell /bin/bash farm \
 && echo 'export PATH=/opt/farm/bin:$PATH' > /etc/profile.d/farm.sh
COPY --from=build /opt/farm /opt/farm
# The models are the user's: what is added, converted or built for a GPU goes beside them.
COPY --from=build --chown=1000:1000 /opt/models /opt/models
COPY render.py /opt/farm/render.py
# HOME: Ray's launcher reads it from the image to know where its files go.
# NVIDIA_*: without `video` neither NVENC nor NVDEC is there.
# RAY_SERVE_*, RAY_worker_niceness: what makes calls of the HTTP service cheap (farm/demo/onserve.py says how).
ENV PATH=/opt/farm/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/home/farm \
    LANG=C.UTF-8 \
    FARM_MODEL_CACHE=/opt/models \
    RAY_USAGE_STATS_ENABLED=0 \
    RAY_SERVE_ENABLE_HA_PROXY=1 \
    RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD=0 \
    RAY_SERVE_LOG_TO_STDERR=0 \
    RAY_worker_niceness=0 \
    RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S=300 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video
USER 1000:1000
WORKDIR /home/farm
CMD ["farm", "--help"]
