"""What a component logs."""


class Metrics(dict[str, float]):
    """Stands for the dsl.Metrics that KFP passes to a component."""

    def log_metric(self, name: str, value: float) -> None:
        self[name] = value
