# A worker that extracts answers with vLLM on an NVIDIA GPU and trains students.
#
#   docker build --tag aspects .
#   docker run --rm --gpus all aspects --help
#
# See docs/deployments.md for running it as a Prefect worker.
FROM nvidia/cuda:13.0.1-runtime-ubuntu24.04

# vLLM compiles small kernels at its first start: Python's headers and a C compiler have to be there.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-dev python3-venv build-essential \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 10001 aspects
WORKDIR /home/aspects/app
RUN python3 -m venv /home/aspects/venv
# A Ray head starts a process for each client (ray://) by fork, which gRPC's handlers of forks can crash.
ENV PATH=/home/aspects/venv/bin:$PATH \
    GRPC_ENABLE_FORK_SUPPORT=0 \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1 \
    DO_NOT_TRACK=1 \
    HF_HOME=/home/aspects/cache/huggingface

# Dependencies first: they change less often than the code, and their layer is the large one.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN mkdir -p flows storage student teacher view experiments questions \
    && touch automations.yaml prefect.yaml \
    && touch flows/__init__.py storage/__init__.py student/__init__.py teacher/__init__.py \
    && PIP_CONSTRAINT=constraints.txt pip install --editable ".[cuda,huggingface,ray]"

COPY . .
RUN mkdir -p /home/aspects/cache /home/aspects/work && chown --recursive aspects:aspects /home/aspects/cache /home/aspects/work
USER aspects
VOLUME ["/home/aspects/cache", "/home/aspects/work"]
ENTRYPOINT ["aspects"]
CMD ["--help"]
