"""Bundles on a Ray cluster: `lamina deploy --ray` and `lamina run --ray`. Ray is imported here alone; it is the extra `ray`."""
