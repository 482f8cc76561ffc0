"""How property tests search: the same examples each time in CI, new ones at every run elsewhere."""

import os

from hypothesis import settings

from podium_suggestion.threads import use_one_thread

settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("here", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "here")
# As in an engine: samplers decide the same when they are tested by themselves.
use_one_thread()
