# The images of Daybook's own roles, one target each: api (the intake), spark (master and worker), airflow (its four
# components, the Spark driver, and the `daybook` command). Every Python package comes from requirements.lock and is
# checked against its hashes: uv takes versions and hashes from the constraint, each role takes its extras.
#     docker build --target api .
FROM python:3.11-slim-bookworm AS base
ENV PATH=/opt/venv/bin:$PATH LANG=C.UTF-8 PYTHONUNBUFFERED=1 DAYBOOK_HOME=/var/lib/daybook
# one number in all images: tasks write the lake beside Spark's workers
RUN groupadd --gid 10001 daybook \
 && useradd --uid 10001 --gid daybook --no-create-home --home-dir /tmp --shell /usr/sbin/nologin daybook \
 && install -d -o daybook -g daybook -m 0700 /var/lib/daybook /var/lib/daybook/lake /var/lib/spark

# --- packages ---------------------------------------------------------------------------------------------------------

FROM base AS installer
WORKDIR /opt/daybook
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1 VIRTUAL_ENV=/opt/venv
COPY bootstrap.py requirements.lock ./
RUN python -m venv /opt/venv && python -m venv /opt/uv \
 && python -c 'import bootstrap; print(bootstrap.uv_requirement())' > /tmp/uv.lock \
 && /opt/uv/bin/pip install --quiet --no-deps --require-hashes -r /tmp/uv.lock
COPY pyproject.toml ./

FROM installer AS api-packages
RUN /opt/uv/bin/uv pip install --quiet --constraint requirements.lock --requirements pyproject.toml --extra api

FROM installer AS spark-packages
RUN /opt/uv/bin/uv pip install --quiet --constraint requirements.lock --requirements pyproject.toml --extra spark

FROM spark-packages AS airflow-packages
RUN /opt/uv/bin/uv pip install --quiet --constraint requirements.lock --requirements pyproject.toml \
    --extra spark --extra airflow --extra generator --extra lake

# Daybook itself: the folders stay as in a checkout, since DAGs, jobs and SQL are files that are read
FROM installer AS code
COPY README.md ./
COPY contracts contracts
COPY docker docker
COPY jars jars
COPY daybook daybook
COPY services services
COPY plugins plugins
COPY spark spark
COPY dags dags
RUN python -m compileall -q daybook services plugins spark

# --- Java and Spark ---------------------------------------------------------------------------------------------------

FROM base AS java
# Debian's Java 17: the archive of Spark's classes halves a driver's start, and 21 does not take it
RUN apt-get update \
 && apt-get install -y --no-install-recommends openjdk-17-jre-headless procps \
 && rm -rf /var/lib/apt/lists/*

FROM java AS spark
COPY --from=spark-packages /opt/venv /opt/venv
ENV SPARK_HOME=/opt/venv/lib/python3.11/site-packages/pyspark SPARK_NO_DAEMONIZE=1
USER daybook
WORKDIR /tmp

FROM java AS airflow
COPY --from=airflow-packages /opt/venv /opt/venv
COPY --from=installer /opt/uv /opt/uv
COPY --from=code /opt/daybook /opt/daybook
WORKDIR /opt/daybook
# editable, as in a checkout: one tree for DAGs, jobs and the command; then the jars and the archive of Spark's classes
RUN VIRTUAL_ENV=/opt/venv UV_NO_CACHE=1 /opt/uv/bin/uv pip install --quiet --no-deps \
    --build-constraints requirements.lock --editable . \
 && DAYBOOK_HOME=/tmp/setup python -m daybook.setup.jars \
 && rm -rf /tmp/* /opt/uv jars/lib/kafka
USER daybook
ENTRYPOINT ["/opt/daybook/docker/with-lake.sh"]
CMD ["daybook", "status"]

# --- the intake -------------------------------------------------------------------------------------------------------

FROM api-packages AS api-venv
COPY --from=code /opt/daybook /opt/daybook
RUN /opt/uv/bin/uv pip install --quiet --no-deps --build-constraints requirements.lock --editable .

FROM base AS api
COPY --from=api-venv /opt/venv /opt/venv
COPY --from=code /opt/daybook/daybook /opt/daybook/daybook
COPY --from=code /opt/daybook/services /opt/daybook/services
USER daybook
WORKDIR /tmp
EXPOSE 5000
HEALTHCHECK --interval=5s --timeout=10s --start-period=60s --retries=6 \
  CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('DAYBOOK_API_PORT', '5000') + '/health/ready', timeout=8)"]
CMD ["gunicorn", "-c", "/opt/daybook/services/game_api/gunicorn_conf.py", "game_api.app:create_app()"]
