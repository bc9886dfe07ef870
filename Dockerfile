# One image, two commands, two users. The API is the default, because it has no key and no database:
#   docker run kedge                                   kedge serve, as kedge-api (10002)
#   docker run --user 10001 kedge keyroom              kedge keyroom, as kedge-keyroom (10001)
# Both mount /run/kedge, the directory of the Unix socket, whose group both users are in. Only the keyroom mounts
# /var/lib/kedge (database, journal), the PKCS#11 module and the PIN. The PIN comes at start, from a file that only 10001
# can read (docs/hsm.md): it is in no layer, no argument and no environment variable.

FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY requirements requirements
RUN python -m venv /opt/kedge \
 && /opt/kedge/bin/pip install --no-cache-dir --only-binary :all: --require-hashes -r requirements/base.txt \
 && python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --only-binary :all: --require-hashes -r requirements/build.txt
COPY pyproject.toml LICENSE ./
COPY pki pki
COPY hsm hsm
COPY ceremonies ceremonies
COPY api api
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheel . \
 && /opt/kedge/bin/pip install --no-cache-dir --no-deps --no-index /wheel/*.whl

FROM python:3.11-slim-bookworm
RUN groupadd --gid 10000 kedge-socket \
 && groupadd --gid 10001 kedge-keyroom \
 && groupadd --gid 10002 kedge-api \
 && useradd --uid 10001 --gid 10001 --groups 10000 --no-create-home --shell /usr/sbin/nologin kedge-keyroom \
 && useradd --uid 10002 --gid 10002 --groups 10000 --no-create-home --shell /usr/sbin/nologin kedge-api \
 && install --directory --owner 10001 --group 10000 --mode 2750 /run/kedge \
 && install --directory --owner 10001 --group 10001 --mode 0700 /var/lib/kedge \
 && install --directory --owner 10001 --group 10001 --mode 0755 /srv/kedge/public
COPY --from=build /opt/kedge /opt/kedge
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10002
ENTRYPOINT ["/opt/kedge/bin/kedge"]
CMD ["serve"]
