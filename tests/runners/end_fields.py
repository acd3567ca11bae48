"""What every runner prints of a run's end as JSON; each adds where the run is."""

END_FIELDS = {"run_id", "state", "exit_code", "error", "failed", "outputs", "scores", "archive", "report"}
