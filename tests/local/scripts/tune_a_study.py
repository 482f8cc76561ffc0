"""Tune a study in the store that the first argument names, from wherever it stands; prints each step once it is stored."""

import sys

from builders.experiments import a_float, a_scheduler, an_objective
from podium_suggestion.store import Store, open_store
from podium_suggestion.study import Next, Study, Work


def a_study(store: Store) -> Study:
    return Study.create(
        [a_float()],
        [an_objective()],
        search="random",
        scheduler=a_scheduler("asha", 1, 9),
        max_trials=20,
        seed=5,
        store=store,
    )


def train(study: Study, work: Work) -> None:
    assert work.target is not None
    for step in range(work.from_step + 1, work.target + 1):
        ruling = study.tell(work.number, step, float(work.parameters["lr"]) + 1 / step)
        print(work.number, step, flush=True)
        if ruling.next is not Next.CONTINUE:
            return


def tune(study: Study) -> None:
    for work in study.unfinished:
        train(study, work)
    while (next_work := study.ask()) is not None:
        train(study, next_work)


if __name__ == "__main__":
    tune(a_study(open_store(sys.argv[1])))
    print("done", flush=True)
