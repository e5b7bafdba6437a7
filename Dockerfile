# The hub and the partners' command line: one image, one entrypoint, every role.
# The base is named by digest: a tag can be moved. Two stages, so that what builds is not in what runs.
ARG PYTHON=python:3.11.15-slim-bookworm@sha256:d29f48a31a8b408ed19272ca1e7b10ebae13b240a27e862d3d4217c528e2e0c3

FROM ${PYTHON} AS build
ENV UV_PROJECT_ENVIRONMENT=/opt/comity UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_NO_CACHE=1
RUN python -m pip install --no-cache-dir --disable-pip-version-check uv==0.13.9
WORKDIR /src
# Dependencies first: they change less often than the sources. uv.lock holds the hash of every file.
COPY pyproject.toml uv.lock ./
RUN uv sync --frozen --no-dev --no-install-project
COPY README.md LICENSE ./
COPY schemas schemas
COPY hub hub
COPY connectors connectors
RUN uv sync --frozen --no-dev --no-editable

FROM ${PYTHON}
LABEL org.opencontainers.image.title="Comity" org.opencontainers.image.licenses="Apache-2.0"
# What could install something goes; who runs has a number, owns nothing but /data, and has no shell to log in with.
RUN python -m pip uninstall --yes --quiet pip setuptools wheel \
    && rm -rf /usr/local/lib/python3.11/ensurepip \
    && groupadd --gid 1000 comity \
    && useradd --uid 1000 --gid 1000 --no-create-home --home-dir /data --shell /usr/sbin/nologin comity \
    && install --directory --owner=1000 --group=1000 --mode=0700 /data
COPY --from=build /opt/comity /opt/comity
ENV PATH=/opt/comity/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    COMITY_DATA_DIR=/data COMITY_HOST=0.0.0.0 COMITY_PORT=8470 COMITY_LOG__FORMAT=json
USER 1000:1000
WORKDIR /data
VOLUME /data
EXPOSE 8470
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ['COMITY_PORT']}/livez\", timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["comity"]
CMD ["--help"]
