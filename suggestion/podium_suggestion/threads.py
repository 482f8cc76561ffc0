"""Linear algebra in one thread.

A surrogate's matrices are small: handing them to several threads costs more than it saves, most of all where another process
wants the cores (seven times as long on two busy ones). How many threads add up a sum also decides its last digits, so the
same seed would lead to other decisions on another machine.
"""

import functools

import numpy as np  # noqa: F401  (only a BLAS that is loaded can be told, and scipy's is another one than numpy's)
import scipy.linalg  # noqa: F401
from threadpoolctl import ThreadpoolController


@functools.cache
def use_one_thread() -> None:
    """Have every BLAS of this process work in the thread that calls it, from now on."""
    ThreadpoolController().limit(limits=1, user_api="blas")
