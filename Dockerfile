# syntax=docker/dockerfile:1
# Two stages: the first installs by hash and compiles the kernels, the second only runs.
#   docker build -t otlp-streams .
#   docker build -t otlp-streams --build-arg NUMBA_CPU_NAME=generic .   # arm64, or old x86
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY deploy/requirements.lock deploy/build.lock deploy/
RUN python -m venv /opt/otlp-streams \
 && /opt/otlp-streams/bin/pip install --require-hashes -r deploy/requirements.lock \
 && python -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes -r deploy/build.lock
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY streams streams
COPY topologies topologies
RUN /opt/build/bin/hatchling build -t wheel -d /tmp/dist \
 && /opt/otlp-streams/bin/pip install --no-deps --no-index /tmp/dist/*.whl
# Machine code for a named processor instead of the builder's own: it must run on other hosts.
# An empty feature list means: what that name implies. The same three values hold at run time,
# else the cache would not be found and every start would compile.
ARG NUMBA_CPU_NAME=x86-64-v3
ENV NUMBA_CPU_NAME=${NUMBA_CPU_NAME} \
    NUMBA_CPU_FEATURES= \
    NUMBA_CACHE_DIR=/opt/otlp-streams/kernels
RUN /opt/otlp-streams/bin/python -m topologies.kernels \
 && chmod -R a+rX /opt/otlp-streams

FROM python:${PYTHON_VERSION}-slim
ARG NUMBA_CPU_NAME=x86-64-v3
ENV PATH=/opt/otlp-streams/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NUMBA_CPU_NAME=${NUMBA_CPU_NAME} \
    NUMBA_CPU_FEATURES= \
    NUMBA_CACHE_DIR=/opt/otlp-streams/kernels \
    OTLP_STREAMS_CONFIG=/etc/otlp-streams/otlp-streams.yaml
COPY --from=build /opt/otlp-streams /opt/otlp-streams
COPY deploy/otlp-streams.yaml /etc/otlp-streams/otlp-streams.yaml
# A number, so that Kubernetes can see that it is not root. Nothing is written to the file
# system; it may be mounted read-only.
USER 65532:65532
WORKDIR /tmp
EXPOSE 4317 4318 8888
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 \
    CMD ["otlp-streams", "health", "--live", "--endpoint", "127.0.0.1:8888"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["otlp-streams"]
CMD ["run", "all"]
