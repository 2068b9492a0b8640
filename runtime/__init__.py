"""Run a bundle: named numpy arrays in, named numpy arrays out. Imports neither torch nor the compiler."""
