# One image for each service: docker build --target api|worker|scheduler|migrate .
# No image holds another service's code, packages that its own service does not need, or a way to install any.
ARG PYTHON_VERSION=3.13
# One more group of packages for API, worker and scheduler, such as `tracing`. This one is always there.
ARG EXTRA=dependencies

FROM python:${PYTHON_VERSION}-slim AS python
WORKDIR /app

# What each image installs, so that a change of the lock rebuilds only the images that it concerns.
FROM python AS locks
ARG EXTRA
COPY pyproject.toml requirements.lock deploy/lock.py ./
RUN python lock.py build-system > build.lock \
    && python lock.py dependencies "$EXTRA" api > api.lock \
    && python lock.py dependencies "$EXTRA" worker > worker.lock \
    && python lock.py dependencies "$EXTRA" scheduler > scheduler.lock \
    && python lock.py dependencies > migrate.lock

# What each image installs, described for people and scanners (CycloneDX); the image carries it as /app/sbom.json.
FROM python AS sboms
ARG EXTRA
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
COPY pyproject.toml requirements.lock ./
COPY deploy/__init__.py deploy/lock.py deploy/sbom.py deploy/
RUN --mount=type=cache,target=/root/.cache/pip python deploy/lock.py sbom > sbom.lock \
    && pip install -q --require-hashes -r sbom.lock \
    && python -m deploy.sbom dependencies "$EXTRA" api > api.json \
    && python -m deploy.sbom dependencies "$EXTRA" worker > worker.json \
    && python -m deploy.sbom dependencies "$EXTRA" scheduler > scheduler.json \
    && python -m deploy.sbom dependencies > migrate.json

# Makes wheels of what has none, by a build tool that is locked as well, and without it in the result.
FROM python AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
COPY --from=locks /app/build.lock /tmp/
RUN --mount=type=cache,target=/root/.cache/pip pip install -q --require-hashes -r /tmp/build.lock \
    && python -m venv --without-pip /opt/venv

FROM build AS api-build
COPY --from=locks /app/api.lock /tmp/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip wheel -q --require-hashes --no-build-isolation -w /wheels -r /tmp/api.lock \
    && pip --python /opt/venv install -q --no-index --no-deps /wheels/*
COPY shared shared
COPY services/__init__.py services/
COPY services/api services/api
RUN python -m compileall -q .

FROM build AS worker-build
COPY --from=locks /app/worker.lock /tmp/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip wheel -q --require-hashes --no-build-isolation -w /wheels -r /tmp/worker.lock \
    && pip --python /opt/venv install -q --no-index --no-deps /wheels/*
COPY shared shared
COPY services/__init__.py services/
COPY services/worker services/worker
RUN python -m compileall -q .

FROM build AS scheduler-build
COPY --from=locks /app/scheduler.lock /tmp/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip wheel -q --require-hashes --no-build-isolation -w /wheels -r /tmp/scheduler.lock \
    && pip --python /opt/venv install -q --no-index --no-deps /wheels/*
COPY shared shared
COPY services/__init__.py services/
COPY services/scheduler services/scheduler
RUN python -m compileall -q .

FROM build AS migrate-build
COPY --from=locks /app/migrate.lock /tmp/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip wheel -q --require-hashes --no-build-isolation -w /wheels -r /tmp/migrate.lock \
    && pip --python /opt/venv install -q --no-index --no-deps /wheels/*
COPY shared shared
COPY piccolo_conf.py ./
RUN python -m compileall -q .

# What all images share.
FROM python AS runtime
RUN pip uninstall -q --yes --root-user-action=ignore pip \
    && rm -r /usr/local/lib/python*/ensurepip \
    && groupadd --gid 10001 often \
    && useradd --uid 10001 --gid often --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin often
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 \
    OFTEN_METRICS_HOST=0.0.0.0 OFTEN_METRICS_PORT=9100
LABEL org.opencontainers.image.vendor="Often Hotels"
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection(os.environ['OFTEN_METRICS_HOST'], int(os.environ['OFTEN_METRICS_PORT']), timeout=4); c.request('GET', '/health/live'); sys.exit(c.getresponse().status != 200)"]

# In the following, the import proves that the image is complete. It also writes the byte code of what is used of the
# standard library, which the official image comes without and nobody can write later: the file system is read-only.

FROM runtime AS api
COPY --from=api-build /opt/venv /opt/venv
COPY --from=api-build /app /app
COPY --from=sboms /app/api.json /app/sbom.json
RUN ["python", "-c", "import http.client, services.api.__main__"]
ENV PYTHONDONTWRITEBYTECODE=1 OFTEN_API_HOST=0.0.0.0 OFTEN_API_PORT=8000
EXPOSE 8000 9100
USER 10001:10001
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection(os.environ['OFTEN_API_HOST'], int(os.environ['OFTEN_API_PORT']), timeout=4); c.request('GET', '/health/ready'); sys.exit(c.getresponse().status != 200)"]
CMD ["python", "-m", "services.api"]
ARG REVISION=unknown
LABEL org.opencontainers.image.title="often-tasks-api" \
    org.opencontainers.image.description="Takes tasks by HTTP" \
    org.opencontainers.image.revision="${REVISION}"

FROM runtime AS worker
COPY --from=worker-build /opt/venv /opt/venv
COPY --from=worker-build /app /app
COPY --from=sboms /app/worker.json /app/sbom.json
RUN ["python", "-c", "import http.client, services.worker.__main__"]
ENV PYTHONDONTWRITEBYTECODE=1
EXPOSE 9100
USER 10001:10001
CMD ["python", "-m", "services.worker"]
ARG REVISION=unknown
LABEL org.opencontainers.image.title="often-tasks-worker" \
    org.opencontainers.image.description="Runs tasks" \
    org.opencontainers.image.revision="${REVISION}"

FROM runtime AS scheduler
COPY --from=scheduler-build /opt/venv /opt/venv
COPY --from=scheduler-build /app /app
COPY --from=sboms /app/scheduler.json /app/sbom.json
RUN ["python", "-c", "import http.client, services.scheduler.__main__"]
ENV PYTHONDONTWRITEBYTECODE=1
EXPOSE 9100
USER 10001:10001
CMD ["python", "-m", "services.scheduler"]
ARG REVISION=unknown
LABEL org.opencontainers.image.title="often-tasks-scheduler" \
    org.opencontainers.image.description="Sends what is due, rescues what dead workers held, fires schedules" \
    org.opencontainers.image.revision="${REVISION}"

FROM runtime AS migrate
COPY --from=migrate-build /opt/venv /opt/venv
COPY --from=migrate-build /app /app
COPY --from=sboms /app/migrate.json /app/sbom.json
RUN DATABASE_URL=postgres://nowhere python -c "import piccolo_conf, shared.migrate"
ENV PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
HEALTHCHECK NONE
CMD ["python", "-m", "shared.migrate"]
ARG REVISION=unknown
LABEL org.opencontainers.image.title="often-tasks-migrate" \
    org.opencontainers.image.description="Brings the database up to date and ends" \
    org.opencontainers.image.revision="${REVISION}"
