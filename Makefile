# make report                       the default study: sets up .venv, then results/golf/report.html and verdict.json
# make report STUDY=weldon          a study under config/studies/; STUDY=golf/logistic is the file logistic.yaml there
# make report STUDY=my/study.yaml   any study file
# make report CORES=4 ARGS=-n       fewer cores; any further options of snakemake
# make test, lint, format, lock     for those who change scalecheck (CONTRIBUTING.md), and
# make test-long, test-slurm, test-references, test-kills, conda, bench, gpu, geometry, calibrate, defects: what takes longer

STUDY =
CORES = all
ARGS =

.DELETE_ON_ERROR:
.PHONY: report test test-long test-slurm test-references test-kills conda bench gpu geometry calibrate defects lint format lock clean

IN_VENV = PATH="$(CURDIR)/.venv/bin:$$PATH"

# ---- studies

studies = $(patsubst config/studies/%/study.yaml,%,$(wildcard config/studies/*/study.yaml))
named = $(firstword $(wildcard config/studies/$(STUDY)/study.yaml config/studies/$(STUDY).yaml))
is_file = $(shell test -f "$(STUDY)" && echo yes)

ifneq ($(STUDY),)
ifneq ($(named),)
configfile = --configfile "$(named)"
else ifeq ($(is_file),yes)
configfile = --configfile "$(STUDY)"
else
$(error no study "$(STUDY)": neither a file nor one of config/studies/, which holds: $(studies))
endif
endif

# Snakemake schedules GPUs only when it is told how many there are; without one its default stands. nvidia-smi lists those that
# CUDA_VISIBLE_DEVICES hides, too: of that, CUDA reads what stands before a -1.
gpus := $(shell here=$$(nvidia-smi --list-gpus 2>/dev/null | grep -c '^GPU '); \
  if [ "$$here" -gt 0 ] && [ "$${CUDA_VISIBLE_DEVICES+set}" ]; then \
    echo "$$CUDA_VISIBLE_DEVICES" | tr ',' '\n' | sed '/^-1$$/,$$d' | grep -c .; \
  else echo "$$here"; fi)
ifneq ($(gpus),0)
resources = --resources gpu=$(gpus)
endif

report: .venv/.installed
	$(IN_VENV) snakemake --rerun-incomplete $(resources) $(configfile) --cores $(CORES) $(ARGS)

# ---- development

# The tests of a file stay in one process, and so do files that share fits (tests/conftest.py).
test: .venv/.installed
	$(IN_VENV) pytest -n 2 --dist loadgroup --no-loadscope-reorder $(ARGS)

# What takes long: the engine numpyro bit by bit, ranks and p-values of many simulations, wider variants, studies in
# memory, measured memory.
test-long: .venv/.installed
	$(IN_VENV) pytest -n 2 --dist loadgroup --no-loadscope-reorder -m long \
	  --ignore tests/slurm --ignore tests/workflow --ignore tests/posteriordb $(ARGS)

# Whole runs of the workflow, some minutes: small studies through Debian's Slurm on the loopback, with eight GPUs that are only
# counted; ten kills of a study here, and some in the queue; as a module of another workflow; many studies. What needs Slurm
# is skipped, and says why, where it is not installed (slurm-wlm, munge) or may not be started (root).
test-slurm: .venv/.installed
	$(IN_VENV) pytest -n 2 --dist loadgroup --no-loadscope-reorder -m long -rs tests/slurm tests/workflow $(ARGS)

# The sampler beside the rest of nineteen reference posteriors, about six minutes; skipped where their folder is absent.
test-references: .venv/.installed
	$(IN_VENV) pytest -m long tests/posteriordb $(ARGS)

# The environment of envs/cpu.yaml, built anew beside this checkout by whichever of the three is here, and a program in it.
conda:
	@set -ex; conda=$$(command -v micromamba || command -v mamba || command -v conda) || \
	  { echo "no micromamba, mamba or conda on PATH" >&2; exit 1; }; \
	rm -rf .conda; $$conda env create --yes --file envs/cpu.yaml --prefix .conda; \
	.conda/bin/scalecheck-fit --help >/dev/null; .conda/bin/python -m pip check

# Two hundred kills of a running study, a fifth of them through Slurm where it may be started, an hour or two; goes on where it
# was stopped.
test-kills: .venv/.installed
	$(IN_VENV) python tests/workflow/kills.py $(ARGS)

# Each adds its lines to tests/benchmarks/results and prints its table. How long whole studies take is measured apart, for it takes
# longer: tests/benchmarks/time_to_verdict.py (docs/time_to_verdict.md).
bench: .venv/.installed
	$(IN_VENV) python tests/benchmarks/engines.py $(ARGS)
	$(IN_VENV) python tests/benchmarks/overhead.py

# Everything that waits for an NVIDIA GPU, in less than ten minutes, into one Markdown file (docs/gpu.md): needs the extra cuda13 in .venv.
gpu: .venv/.installed
	$(IN_VENV) python tests/benchmarks/gpu/gpu.py $(ARGS)

# NumPyro's tutorial on bad geometry, ours beside theirs, and what the search finds; ARGS=--full for all of its columns.
geometry: .venv/.installed
	$(IN_VENV) python tests/benchmarks/geometry/geometry.py $(ARGS)

# Over an hour on two cores; ARGS=--quick is the few minutes of it that continuous integration runs.
calibrate: .venv/.installed
	$(IN_VENV) python tests/calibration/calibrate.py $(ARGS)

# The verdict beside other checks of models, on tables with a known defect (docs/defects.md): days on two cores, line by line;
# ARGS='--models linear poisson --n 100 --seeds 5' is a part of it, and it goes on where it was stopped.
defects: .venv/.installed
	$(IN_VENV) python tests/defects/benchmark.py $(ARGS)

# Without GLOBAL_NODE=off pyright would run on whatever node the machine has, instead of the locked one.
lint: .venv/.installed
	$(IN_VENV) ruff check .
	$(IN_VENV) ruff format --check .
	$(IN_VENV) PYRIGHT_PYTHON_GLOBAL_NODE=off PYRIGHT_PYTHON_IGNORE_WARNINGS=on pyright
	$(IN_VENV) snakefmt --check Snakefile workflow
	$(IN_VENV) snakemake --lint

format: .venv/.installed
	$(IN_VENV) ruff check --fix .
	$(IN_VENV) ruff format .
	$(IN_VENV) snakefmt Snakefile workflow

# Versions that stand in the lock are kept where they still fit: ARGS=--upgrade renews them all.
lock:
	uv pip compile pyproject.toml --extra dev --extra examples --extra slurm --universal --python-version 3.12 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links -o requirements.lock --quiet $(ARGS)

clean:
	rm -rf .venv .conda

# ---- the environment

# Any Python of the right age will do, but the default one is often too old, and a version manager's shim exists without
# answering: so each is run before it is believed. 3.13 first: the tests run on it. `~$(id -un)` is the home of the
# account, where HOME may be another place. Prints the interpreter below a virtual environment, which could be .venv.
define find_python
find_python() { \
  home=$$(eval echo "~$$(id -un)"); \
  for name in "$(PYTHON)" 3.13 3.12 3.14 3; do \
    for python in "$$name" "python$$name" "$${PYENV_ROOT:-$$HOME/.pyenv}/versions/$$name".*/bin/python \
      "$$home/.pyenv/versions/$$name".*/bin/python "$$home"/.local/share/uv/python/*/bin/"python$$name" \
      "$$home"/*conda*/bin/"python$$name" "$$home"/*forge*/bin/"python$$name" /opt/*/bin/"python$$name" \
      /opt/*/*/bin/"python$$name"; do \
      "$$python" -c 'import sys, venv, ensurepip; assert (3, 12) <= sys.version_info < (3, 15); print(sys._base_executable)' \
        2>/dev/null && return; \
    done; \
  done; \
  false; \
}
endef

# The stamp is the last thing written, and an older one goes first: what was interrupted is built again from nothing.
.venv/.locked: requirements.lock
	@rm -rf .venv
	@$(find_python); python=$$(find_python) || python=; \
	if uv --version >/dev/null 2>&1; then set -ex; \
	  uv venv --quiet --seed --python "$${python:->=3.12,<3.15}" .venv; \
	  uv pip install --quiet --python .venv --require-hashes -r requirements.lock; \
	elif [ -n "$$python" ]; then set -ex; \
	  "$$python" -m venv .venv; \
	  .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock; \
	else \
	  echo "scalecheck needs Python 3.12, 3.13 or 3.14 with its venv module (or uv, which fetches one): install one, or name it with PYTHON=/path/to/python" >&2; \
	  exit 1; \
	fi
	@touch $@

# Programs are copied when they are installed, so an edited one is installed again; the library is read in place.
# Without build isolation: the build backend is the locked one.
.venv/.installed: .venv/.locked pyproject.toml $(wildcard scripts/*.py)
	@rm -f $@
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
