"""Samplers: what to try next. One file each; `make_sampler` is the only way to get one."""
