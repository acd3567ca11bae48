"""Rights on TrainJobs that are taken away while one trains, and given back: the launcher waits and deletes nothing."""

import shutil
from pathlib import Path

from tests.cluster.cluster import Cluster
from tests.cluster.lab import Lab
from tests.cluster.node import wait_for
from tests.cluster.settings import PATIENCE
from tests.cluster.training import prepared

JOBS = {"trainjobs", "trainingruntimes", "pods", "events"}
"""What the launcher reads and could delete. The account has no other right to TrainJobs."""


def test_training_whose_rights_were_taken_and_given_back_ends_as_usual(
    cluster: Cluster, lab: Lab, processed: Path, tmp_path: Path
) -> None:
    with prepared(cluster, lab.namespace, processed, tmp_path, "rights", "trainjob") as training:
        shutil.copyfile(lab.kubeconfig(), tmp_path / "kubeconfig")
        launcher = training.train()
        training.wait_for_epoch()
        job, runtime = (training.uid(kind, training.job) for kind in ("trainjob", "trainingruntime"))
        with lab.only([rule for rule in lab.rules if not JOBS & set(rule["resources"])]):
            wait_for("the refusal", lambda: "(403); still waiting" in training.log)
            # Nobody sees it end, and nothing happens then.
            cluster.wait("condition=Complete", f"trainjob/{training.job}", "-n", lab.namespace)
            assert launcher.poll() is None, training.log
        assert launcher.wait(PATIENCE) == 0, training.log
        assert "deleting" not in training.log and "is started again" not in training.log, training.log
        assert training.uid("trainjob", training.job) == job
        assert training.uid("trainingruntime", training.job) == runtime
        training.check_result()
