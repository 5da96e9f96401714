# Two images from one file, both for any user id and a read-only root file system (docs/containers.md):
#
#   docker build --target serve -t segnet:serve .                                the service and the inspection; CPU
#   docker build --target serve -t segnet:serve-gpu --build-arg DEVICE=gpu .     the same with CUDA and cuDNN
#   docker build --target train -t segnet:train .                                what makes models; torch is here only
#
# Nothing here needs BuildKit. A mirror of the package index comes in by --build-arg PIP_INDEX_URL=…, an
# authority of certificates by a base image that knows it (PYTHON_IMAGE).
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# ---- what both images stand on
FROM ${PYTHON_IMAGE} AS runtime
# 1000 is the first user of most Linux machines, so that mounted folders can be written without a chown; any
# other id works as well (docker run --user), as nothing here is looked up by name.
RUN groupadd --gid 1000 segnet \
 && useradd --uid 1000 --gid 1000 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin segnet \
 && install --directory --owner 1000 --group 1000 /images /models /out /recipes /runs
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    # The root file system is read-only; pip has compiled everything already.
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /opt/segnet
STOPSIGNAL SIGTERM
ENTRYPOINT ["segnet"]

# ---- where packages are installed; no layer of it reaches an image
FROM runtime AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
# An argument ends with its stage; the stages below need it too.
ENV PIP_INDEX_URL=${PIP_INDEX_URL} \
    PIP_EXTRA_INDEX_URL=${PIP_EXTRA_INDEX_URL} \
    PIP_TRUSTED_HOST=${PIP_TRUSTED_HOST} \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# pip stands apart and installs into an environment without one: the images need none.
RUN python -m venv --without-pip /opt/venv && python -m venv /opt/pip && /opt/pip/bin/pip install --upgrade pip
ENV PATH=/opt/pip/bin:$PATH \
    PIP_PYTHON=/opt/venv/bin/python
# Empty stand-ins for what the project names besides, so that these two files alone decide whether the packages are
# installed anew.
RUN touch README.md LICENSE
COPY pyproject.toml constraints.txt ./

FROM build AS serve-packages
ARG EXTRAS=
RUN pip install --constraint constraints.txt ".${EXTRAS:+[${EXTRAS}]}" \
 && pip uninstall --yes residual-segnet
# onnxruntime-gpu brings its CUDA provider (284 MB) but no CUDA. On a CPU the provider is dead weight; for a GPU
# it needs CUDA, cuBLAS and cuDNN, here from NVIDIA's own wheels. The driver alone comes from the host.
ARG DEVICE=cpu
RUN case "${DEVICE}" in \
      cpu) find /opt/venv -name 'libonnxruntime_providers_cuda.so' -delete ;; \
      gpu) pip install --constraint constraints.txt \
             'onnxruntime-gpu[cuda,cudnn]' ;; \
      *) echo "DEVICE is ${DEVICE}; expected cpu or gpu" >&2; exit 1 ;; \
    esac

FROM serve-packages AS serve-code
COPY README.md LICENSE ./
COPY data data
COPY model model
COPY app app
COPY cli cli
RUN pip install --no-deps --prefix /code .

# ---- serve: no torch, nothing of training
FROM runtime AS serve
COPY --from=serve-packages /opt/venv /opt/venv
COPY --from=serve-code /code /opt/venv
ENV SEGNET_HOST=0.0.0.0 \
    SEGNET_PORT=8000 \
    SEGNET_MODEL=/models/model.onnx
USER 1000:1000
EXPOSE 8000
# Healthy is ready: the golden sample passed on the very device. No proxy may come between.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-c", \
    "import urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["serve"]

# ---- train: torch brings its own CUDA and cuDNN, which ONNX Runtime shares
FROM build AS train-packages
ARG EXTRAS=
RUN pip install --constraint constraints.txt ".[train${EXTRAS:+,${EXTRAS}}]" \
 && pip uninstall --yes residual-segnet

FROM train-packages AS train-code
COPY README.md LICENSE ./
COPY data data
COPY model model
COPY app app
COPY training training
COPY cli cli
COPY configs configs
RUN pip install --no-deps --prefix /code .

FROM runtime AS train
COPY --from=train-packages /opt/venv /opt/venv
COPY --from=train-code /code /opt/venv
COPY configs configs
# torch names its cache after the user, whom any other id than 1000 does not have.
ENV TORCHINDUCTOR_CACHE_DIR=/tmp/torchinductor
USER 1000:1000
CMD ["train", "--help"]
