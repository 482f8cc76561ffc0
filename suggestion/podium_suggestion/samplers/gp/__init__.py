"""Gaussian-process Bayesian optimisation."""

from podium_suggestion.samplers.gp.sampler import GpSampler

__all__ = ["GpSampler"]
