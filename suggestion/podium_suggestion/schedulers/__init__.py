"""Schedulers: how much to spend on each trial. One file each; `make_scheduler` is the only way to get one."""
