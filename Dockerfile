# Two images of one file:
#
#     docker build --target cpu -t funreason:cpu .
#     docker build --target cuda -t funreason:cuda .
#     docker run --rm -v "$PWD:/work" funreason:cpu loop --rounds 3
#     docker run --rm --gpus all --ipc=host -v "$PWD:/work" funreason:cuda loop --config qwen2.5-coder-7b --model MODEL
#
# The commands run as user 1000: add `--user "$(id -u):$(id -g)" -e HOME=/work` where the folder is another user's.

FROM python:3.11-slim-bookworm AS wheel
WORKDIR /src
COPY constraints.txt pyproject.toml MANIFEST.in LICENSE README.md CHANGELOG.md CITATION.cff ./
COPY funreason ./funreason
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /dist .

FROM python:3.11-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 OMP_WAIT_POLICY=passive KMP_BLOCKTIME=0
RUN useradd --uid 1000 --create-home funreason && install --directory --owner=1000 /work
COPY constraints.txt /tmp/constraints.txt

# torch as the package index has it brings CUDA's libraries, gigabytes that this image never uses. PyTorch's index of CPU
# builds avoids that: --build-arg PIP_EXTRA_INDEX_URL=…
FROM base AS cpu
ARG PIP_EXTRA_INDEX_URL
RUN --mount=type=bind,from=wheel,source=/dist,target=/dist \
    pip install --no-cache-dir -c /tmp/constraints.txt "funreason[train,tui,lora,gguf,endpoint,export,files,bfcl] @ file://$(echo /dist/*.whl)"
USER 1000
WORKDIR /work
ENTRYPOINT ["funreason"]
CMD ["--help"]

# torch's wheels bring CUDA; the machine needs NVIDIA's driver and container toolkit. Triton compiles its launchers with gcc.
FROM base AS cuda
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
RUN --mount=type=bind,from=wheel,source=/dist,target=/dist \
    pip install --no-cache-dir -c /tmp/constraints.txt "funreason[train,vllm,tui,lora,gguf,endpoint,export,files,bfcl] @ file://$(echo /dist/*.whl)"
USER 1000
WORKDIR /work
ENTRYPOINT ["funreason"]
CMD ["--help"]
