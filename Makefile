# setup: .venv from the hash-locked list    demo: a rendered film in out/    test: the whole suite
# lint: ruff, types, import rules           bench: the tables of docs/benchmarks     lock: pin again
PYTHON ?= python3
BIN := .venv/bin
FILES := core actors farm render.py tests

# What tests run beside the farm: an SSH server and rsync for `ray up`, network namespaces for hosts, a browser
PACKAGES := openssh-server openssh-client rsync iproute2 chromium

# check-clusters: cluster files, roles and image    lock-images: what the images install
.PHONY: check-clusters lock-images
.PHONY: setup machine models demo test test-heavy proof-submit proof-autoscaling proof-simulate lint bench lock openapi fuzz clean

setup: .venv/ready

# pip, not only the stamp's date, decides: a changed lock or project file installs again
.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"farm needs Python 3.11 or newer, this is {v[0]}.{v[1]}: make PYTHON=python3.11 setup")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# Debian's packages, as root, where one of their programs is missing
machine:
	@PATH=$$PATH:/usr/sbin:/sbin; \
	if ! { command -v sshd && command -v ssh && command -v rsync && command -v ip && command -v chromium; } > /dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PACKAGES); \
	fi

models: setup
	$(BIN)/farm models pull

demo: models
	$(BIN)/python -m farm.demo --out out

# the same through the HTTP service, started and stopped twice: `farm serve`, and `serve deploy` on a Ray of its own
.PHONY: serve-demo
serve-demo: models
	$(BIN)/python -m farm.demo.service --out out

test: models
	$(BIN)/python -m pytest -m "not heavy" -n 2 --dist loadfile --max-worker-restart 0 --timeout 300

test-heavy: models
	$(BIN)/python -m pytest -m heavy
	$(BIN)/python -m pytest --hypothesis-profile=random -m "not heavy" tests/core tests/actors

# `ray up` and `ray submit` through SSH: on loopback, then on hosts in network namespaces (as root)
proof-submit: models
	$(BIN)/python -m pytest tests/launch/test_submit.py tests/launch/test_hosts.py

# Ray's autoscaler brings nodes up for a job, and takes them away after it
proof-autoscaling: models
	$(BIN)/python -m pytest tests/launch/test_autoscaling.py

# Ten thousand nodes and a million segments; small real runs beside what the simulator says of them
proof-simulate: setup
	$(BIN)/python -m pytest tests/farm/simulate
	$(BIN)/farm bench farm --renderers 2 --renderers 4 --segments 10 --work 0

# hunts, each of which goes alone too (make chaos-monkey); make -k chaos goes on after one that failed
# SHARE: 1/4 of the steps before and after which a run is ended, SHARE=1 for all; SEEDS: how many hunts at random of a kind
CHAOS := steps stops seeds monkey renderers service
SHARE ?= 1/4
SEEDS ?= 5
.PHONY: chaos $(CHAOS:%=chaos-%)
chaos: $(CHAOS:%=chaos-%)
$(CHAOS:%=chaos-%): chaos-%: models
	$(BIN)/python -m tests.chaos $* --share $(SHARE) --seeds $(SEEDS)

# DRILLS: how many times twenty jobs go through a service on Ray Serve while each of its parts is killed
DRILLS ?= 3
.PHONY: drill
drill: models
	$(BIN)/python -m tests.drill --seeds $(DRILLS)

# SECONDS: how long 200 clients and 50 watchers call one service; then 2 GB are uploaded. LOAD: --way serve,
# --database postgres
SECONDS ?= 120
LOAD ?=
.PHONY: load
load: models
	$(BIN)/python -m tests.load --seconds $(SECONDS) $(LOAD)

lint: setup
	$(BIN)/ruff check $(FILES)
	$(BIN)/ruff format --check $(FILES)
	$(BIN)/mypy core actors farm render.py

bench: models
	$(BIN)/farm bench media
	$(BIN)/farm bench swap
	$(BIN)/farm bench farm

lock:
	uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --no-emit-index-url \
	  --python-version 3.11 --extra dev pyproject.toml -o requirements.lock

# what the images install: names from the metadata of what is installed, hashes from requirements.lock or the index
IMAGES := deploy/docker
COMPILE := uv pip compile --quiet --generate-hashes --no-annotate --no-header --no-emit-index-url \
  --python-version 3.11 --python-platform linux

lock-images: setup
	mkdir -p build
	$(BIN)/python $(IMAGES)/runtime.py pyproject.toml --list > build/runtime.txt && mv build/runtime.txt $(IMAGES)
	printf 'onnxruntime-gpu[cuda,cudnn]\nnvidia-cublas~=13.0\n' | $(COMPILE) -c requirements.lock - -o build/gpu.lock
	printf 'google-api-python-client\ngoogle-auth-httplib2\n' | $(COMPILE) -c requirements.lock - -o build/launch.lock
	for name in gpu launch; do $(BIN)/python $(IMAGES)/runtime.py build/$$name.lock --new > $(IMAGES)/$$name.lock; done

# cluster files, roles, image and operations guide: schema, rules, EC2's calls
check-clusters: setup
	$(BIN)/farm cluster check --as-shipped cluster.yaml cluster-local.yaml deploy/gcp/cluster.yaml deploy/kuberay/*.yaml
	$(BIN)/python -m pytest tests/deploy

# a hundred requests to every call, made of the description
fuzz: models
	FARM_FUZZ_EXAMPLES=100 $(BIN)/python -m pytest tests/farm/api/test_fuzz.py

# the description of the service, which a test compares with the service
openapi: setup
	$(BIN)/python -m farm.api.describe > deploy/openapi.json

clean:
	rm -rf .venv out build *.egg-info
