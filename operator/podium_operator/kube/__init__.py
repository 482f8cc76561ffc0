"""Experiments on Kubernetes: a backend whose runs are pods, and the operator process around it."""
