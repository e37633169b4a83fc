# syntax=docker/dockerfile:1
# Build a wheel; then install it, and nothing that built it, for a user without rights.

FROM python:3.13-slim AS build
WORKDIR /source
RUN pip install --no-cache-dir build
COPY pyproject.toml README.md LICENSE ./
COPY sidecar ./sidecar
COPY plugins ./plugins
RUN python -m build --wheel --outdir /wheels

FROM python:3.13-slim
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir "$(echo /wheels/*.whl)[br,shared]" \
    && useradd --create-home --uid 10001 sidecar \
    && install -d -o sidecar -g sidecar -m 0700 /config /state
USER sidecar
# Mount the configuration's directory, not the file: editors replace files, and a mounted file
# would stay the old one.
VOLUME ["/config", "/state"]
ENV SIDECAR_CONFIG=/config/routes.yaml SIDECAR_STATE=/state
EXPOSE 8787 8788
HEALTHCHECK --interval=15s --timeout=3s --start-period=5s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8788/readyz', timeout=2)"]
# Inside a container the listener must be open to be forwarded; the file says so on purpose, as
# `sidecar init --listen 0.0.0.0:8787` writes it:
#   server: {listen: "0.0.0.0:8787", allow_remote: true}
CMD ["sidecar", "serve"]
