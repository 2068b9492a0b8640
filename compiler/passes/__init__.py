"""Passes: functions from graph to graph, one a file, each saying what it requires and ensures."""
