# docker build --tag lembra:cpu .                    serves on the CPU, without torch; the default
# docker build --target gpu --tag lembra:gpu .       serves on an NVIDIA GPU; torch with CUDA, several GB
# docker build --target train --tag lembra:train .   the `lembra` command: train, check, autotune, …
#
# docker run --rm --read-only --cap-drop ALL -p 127.0.0.1:8000:8000 lembra:cpu
#
# docker-compose.yml runs all three; `benchmarks/image.sh` builds the first, tries it and weighs it.

FROM python:3.11-slim-bookworm AS base
# Not /app: from / that directory would itself be importable as `app`, an empty package in place of ours.
WORKDIR /srv
# PYTHONPATH: the `lembra` script starts with its own folder on sys.path, not with this one.
# PYTHONDONTWRITEBYTECODE: what is imported is compiled below; a read-only file system takes no more.
# HOME: the user has none, and a library that wants a cache must not look for it in /.
# ORT_DISABLE_TELEMETRY: onnxruntime's wheel otherwise writes a device id, and may report, as soon as it is imported.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/srv \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    ORT_DISABLE_TELEMETRY=1


# What is installed. None of our code is here, so that a change to it leaves these layers as they are: `pip install .`
# installs the dependencies, the metadata that holds the version, and the script. The code comes later, from `code`.
FROM base AS dependencies
WORKDIR /build
# The environment has no pip of its own: PIP_PYTHON has the base image's pip install into it.
ENV PIP_PYTHON=/opt/venv \
    PIP_CONSTRAINT=/build/constraints.txt \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    HATCH_BUILD_NO_HOOKS=true
RUN python -m venv --without-pip /opt/venv
COPY pyproject.toml constraints.txt LICENSE ./
# pyproject.toml names it; an empty one does.
RUN touch README.md

# After each install goes what nothing runs here: the libraries' own tests (17 MB) and, where there is no cli.py to
# follow, the script that would look for it.
FROM dependencies AS dependencies-cpu
RUN pip install . \
    && find /opt/venv -type d -name tests -prune -exec rm -r {} + \
    && rm -f /opt/venv/bin/lembra

# The public index's torch for Linux is built for CUDA and brings CUDA's libraries: a plain base image will do.
FROM dependencies-cpu AS dependencies-gpu
RUN pip install '.[gpu]' \
    && rm -f /opt/venv/bin/lembra

FROM dependencies-cpu AS dependencies-train
RUN pip install '.[tune]'


# Our own engine, compiled where there is a compiler: none of that goes into an image that serves. Where it can't be made,
# as for another kind of CPU, onnxruntime serves.
FROM base AS native
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev
COPY model/native model/native
RUN python model/native/build.py || true


# Our code and the default bundle, readable by any user whatever the umask of the checkout was, and compiled.
# unchecked-hash: the same source gives the same bytes, where the usual .pyc has the checkout's time in it.
FROM base AS code
COPY . .
COPY --from=native /srv/model/native model/native
RUN chmod -R u=rwX,go=rX . \
    && python -m compileall -q --invalidation-mode unchecked-hash app model training


# What the two servers share.
FROM base AS server
ENV LEMBRA_HOST=0.0.0.0 \
    LEMBRA_PORT=8000
EXPOSE 8000
# By number, as Kubernetes' runAsNonRoot can't look up a name. It owns nothing, so it can change nothing.
USER 10001:10001
# http.client rather than urllib.request: a container is often handed http_proxy, which must not see this.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('localhost', os.environ['LEMBRA_PORT'] or '8000', timeout=4); c.request('GET', '/health/ready'); sys.exit(c.getresponse().status != 200)"]
# No shell in between: SIGTERM must reach the server, which then answers what it has admitted and exits 0.
ENTRYPOINT ["python", "-m", "app"]


FROM base AS train
COPY --from=dependencies-train /opt/venv /opt/venv
COPY --from=code /srv/app app
COPY --from=code /srv/model model
COPY --from=code /srv/training training
COPY --from=code /srv/cli.py cli.py
USER 10001:10001
ENTRYPOINT ["lembra"]
CMD ["--help"]


FROM server AS gpu
# Who builds this wants the GPU: without one it refuses to start, rather than be slow in silence.
ENV LEMBRA_DEVICE=cuda
COPY --from=dependencies-gpu /opt/venv /opt/venv
COPY --from=code /srv/bundles bundles
COPY --from=code /srv/model model
COPY --from=code /srv/app app


# Last: what `docker build .` makes. By how seldom they change: dependencies, bundle, model, app.
FROM server AS cpu
COPY --from=dependencies-cpu /opt/venv /opt/venv
COPY --from=code /srv/bundles bundles
COPY --from=code /srv/model model
COPY --from=code /srv/app app
