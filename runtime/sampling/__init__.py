"""Samples from a denoiser: from noise, step by step, by diffusion or by a flow. NumPy alone computes."""
