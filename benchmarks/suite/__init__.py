"""Our bundles against the best peers, interleaved in one run: `python -m benchmarks.suite`."""
