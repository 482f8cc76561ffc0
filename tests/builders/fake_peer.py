"""A peer without a tuner: proposes each parameter's lowest value, and does as its method's name says."""

from bench.peers.protocol import NotOffered, Parameters, Setting, is_active, serve


class FakePeer:
    """Methods: `plain`; `chatty` prints; `stopping` stops at step 2; `dying` ends its process at the second ask.

    With `counting` the version says how many settings the process has been started with.
    """

    version = "1.0"
    starts = 0

    def __init__(self, setting: Setting) -> None:
        FakePeer.starts += 1
        if setting.method == "counting":
            self.version = f"start {FakePeer.starts}"
        if setting.method == "missing":
            raise NotOffered("there is no such method")
        self._setting = setting
        self._asked = 0
        self._told = 0

    def ask(self) -> tuple[int, Parameters]:
        self._asked += 1
        if self._setting.method == "chatty":
            print("progress: 50 %")
        if self._setting.method == "dying" and self._asked == 2:
            raise SystemExit(3)
        chosen: Parameters = {}
        for parameter in self._setting.parameters:
            if is_active(parameter, chosen):
                chosen[parameter["name"]] = parameter["values"][0] if "values" in parameter else parameter["min"]
        return self._asked, chosen

    def report(self, trial: int, step: int, loss: float) -> str:
        del trial, loss
        return "stop" if self._setting.method == "stopping" and step == 2 else "go"

    def tell(self, trial: int, losses: list[float], excesses: list[float], seconds: float) -> None:
        del trial, seconds
        self._told += 1
        assert len(losses) == self._setting.objectives
        assert len(excesses) == self._setting.constraints

    def load(self, assignments: list[Parameters], losses: list[float]) -> None:
        self._told += len(list(zip(assignments, losses, strict=True)))


if __name__ == "__main__":
    serve(FakePeer)
