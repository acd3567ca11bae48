"""Single requests: what is retried, for how long, and what the error says."""

import base64
import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from kubernetes import client

from tests.cluster_client.conftest import CANARY, job, secret
from tests.fakes.api_server import ApiServer, Fault, Time
from utils.cluster import client as client_module
from utils.cluster.cluster import Cluster, Patience
from utils.cluster.errors import ClusterError, ConflictError
from utils.cluster.kinds import JOB, POD, PYTORCH_JOB
from utils.cluster.objects import (
    create_once,
    create_or_attach,
    delete,
    delete_all,
    events_of,
    get,
    list_objects,
    patch,
    wait_gone,
)
from utils.names import HASH_LABEL


def test_objects_are_created_read_listed_changed_and_deleted(api: ApiServer, cluster: Cluster) -> None:
    create_once(cluster, job())
    found = get(cluster, JOB, "train")
    assert found and found["spec"] == job()["spec"]
    assert [o["metadata"]["name"] for o in list_objects(cluster, JOB, f"{HASH_LABEL}=h1")] == ["train"]
    assert list_objects(cluster, JOB, f"{HASH_LABEL}=other") == []
    changed = patch(cluster, JOB, "train", {"spec": {"suspend": True, "template": None}})
    assert changed["spec"] == {"suspend": True}
    assert delete(cluster, JOB, "train")
    assert get(cluster, JOB, "train") is None
    assert not delete(cluster, JOB, "train")
    sent = {request.verb: request for request in api.requests}
    assert sent["delete"].body == {"propagationPolicy": "Foreground"}
    assert sent["patch"].headers["Content-Type"] == "application/merge-patch+json"
    assert {request.headers["authorization"] for request in api.requests} == {"Bearer a-token"}


def test_long_lists_are_read_page_by_page(api: ApiServer, cluster: Cluster) -> None:
    api.page = 2
    names = [api.put("jobs", f"j{i}")["metadata"]["name"] for i in range(5)]
    assert [o["metadata"]["name"] for o in list_objects(cluster, JOB)] == names
    assert api.asked() == ["list jobs"] * 3


def test_list_restarts_when_its_next_page_has_expired(api: ApiServer, cluster: Cluster) -> None:
    api.put("jobs", "j")
    api.faults.append(Fault("list", status=410))
    assert len(list_objects(cluster, JOB)) == 1
    assert "limit" not in api.requests[-1].query


@pytest.mark.parametrize("status", [0, 429, 500, 502, 503, 504])
def test_transient_errors_are_retried_with_growing_pauses(
    api: ApiServer, cluster: Cluster, time: Time, status: int
) -> None:
    api.put("jobs", "train")
    api.faults += [Fault(status=status)] * 3
    assert get(cluster, JOB, "train") is not None
    assert time.pauses == [0.5, 1.0, 2.0]


def test_server_recovery_is_noticed_within_seconds(api: ApiServer, cluster: Cluster, time: Time) -> None:
    api.put("jobs", "train")
    api.faults += [Fault()] * 30
    chances = iter([0.0, 1.0] * 15)
    assert get(replace(cluster, chance=lambda: next(chances)), JOB, "train") is not None
    assert max(time.pauses) <= 5
    assert len(set(time.pauses[-2:])) == 2  # clients that lost it together do not come back together


def test_unanswered_connection_is_replaced_by_a_new_one(
    api: ApiServer, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "FIRST_READ_SECONDS", 0.1)
    api.put("jobs", "train")
    api.faults.append(Fault(silent=True))
    assert get(cluster, JOB, "train") is not None
    assert api.asked() == ["get jobs"] * 2


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_header_is_respected(api: ApiServer, cluster: Cluster, time: Time, status: int) -> None:
    api.put("jobs", "train")
    api.faults.append(Fault(status=status, headers={"Retry-After": "7"}))
    assert get(cluster, JOB, "train") is not None
    assert time.pauses == [7.0]


def test_api_server_restart_is_waited_for_and_reported_once(api: ApiServer, cluster: Cluster, told: list[str]) -> None:
    api.put("jobs", "train")
    api.faults += [Fault()] * 5
    assert get(cluster, JOB, "train") is not None
    assert len(told) == 2
    assert told[0].startswith("the API server is unreachable (")
    assert told[1] == "the API server is back"


def test_patience_ends_and_the_error_says_what_was_wrong(api: ApiServer, cluster: Cluster, time: Time) -> None:
    api.faults += [Fault(status=500, message="etcd is full")] * 100
    with pytest.raises(ClusterError) as caught:
        get(replace(cluster, patience=60.0), JOB, "train")
    assert caught.value.status == 500
    assert "did not get jobs.batch train within 60 s" in caught.value.what
    assert "500 etcd is full" in caught.value.cause
    assert sum(time.pauses) <= 60


@pytest.mark.parametrize(("answers", "code"), [(0, 3), (1, 4)], ids=["never answered", "went away"])
def test_exit_code_distinguishes_a_cluster_that_never_answered_from_one_that_went_away(
    api: ApiServer, cluster: Cluster, answers: int, code: int
) -> None:
    for _ in range(answers):
        get(cluster, JOB, "train")
    api.faults += [Fault()] * 100
    with pytest.raises(ClusterError, match="did not get") as caught:
        get(replace(cluster, patience=20.0), JOB, "train")
    assert caught.value.exit_code == code


def test_persistently_failing_request_is_reported_once(
    api: ApiServer, cluster: Cluster, time: Time, told: list[str]
) -> None:
    api.faults += [Fault("create", "jobs", 500, message='failed calling webhook "queue.example"')] * 16
    create_once(cluster, job("a"))
    refused = '500 failed calling webhook "queue.example"'
    assert told == [
        f"the API server does not create jobs.batch now ({refused}); retrying",
        "the API server is back",
    ]
    assert sum(time.pauses) > 60


def test_conflict_about_a_free_name_is_an_error_in_the_end(api: ApiServer, cluster: Cluster, time: Time) -> None:
    body = {"reason": "AlreadyExists"}
    api.faults += [Fault("create", "jobs", 409, message="a policy says so", body=body)] * 1000
    with pytest.raises(ConflictError, match="a policy says so"):
        create_or_attach(cluster, job("a"))
    assert sum(time.pauses) >= cluster.patience


def test_server_that_never_answered_is_abandoned_soon(cluster: Cluster, time: Time) -> None:
    configuration = client.Configuration()
    configuration.host = "http://127.0.0.1:1"
    with pytest.raises(ClusterError, match="Connection refused"):
        get(replace(cluster, api=client.ApiClient(configuration), account=""), JOB, "train")
    assert sum(time.pauses) <= 20


def test_write_conflicts_are_retried(api: ApiServer, cluster: Cluster) -> None:
    api.faults.append(Fault("create", status=409, body={"reason": "Conflict"}, message="quota was modified"))
    create_once(cluster, job())
    assert api.asked() == ["create jobs"] * 2


def test_object_created_by_a_request_with_a_lost_response_is_ours(api: ApiServer, cluster: Cluster) -> None:
    api.faults.append(Fault("create", done=True))
    assert create_once(cluster, job())["spec"] == job()["spec"]
    assert list(api.objects["jobs"]) == ["train"]


def test_equal_object_that_existed_before_is_not_ours(cluster: Cluster) -> None:
    create_once(cluster, job())
    with pytest.raises(ConflictError, match="the name is taken"):
        create_once(cluster, job())


def test_deletion_with_a_lost_response_counts_as_done(api: ApiServer, cluster: Cluster) -> None:
    api.put("jobs", "train")
    api.faults.append(Fault("delete", done=True))
    assert delete(cluster, JOB, "train")
    api.faults.append(Fault("delete"))
    assert not delete(cluster, PYTORCH_JOB, "x")


def test_name_taken_by_another_object_is_not_a_success_after_a_lost_response(api: ApiServer, cluster: Cluster) -> None:
    api.put("jobs", "train", **{k: v for k, v in job(image="b").items() if k == "spec"})
    api.faults.append(Fault("create"))
    with pytest.raises(ConflictError):
        create_once(cluster, job())


def test_delete_all_deletes_by_label_and_refuses_an_empty_selector(api: ApiServer, cluster: Cluster) -> None:
    for name, run in (("a", "r1"), ("b", "r1"), ("c", "r2")):
        api.put("jobs", name, metadata={"labels": {"run": run}})
    assert delete_all(cluster, JOB, "run=r1") == 2
    assert list(api.objects["jobs"]) == ["c"]
    with pytest.raises(ValueError, match="without labels"):
        delete_all(cluster, JOB, "")


def test_login_page_is_not_taken_for_an_api_server(cluster: Cluster) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>log in</html>")

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    configuration = client.Configuration()
    configuration.host = f"http://127.0.0.1:{server.server_port}"
    with pytest.raises(ClusterError, match="not an API server"):
        get(replace(cluster, api=client.ApiClient(configuration)), JOB, "x")
    thread.join()
    server.server_close()


def test_login_page_in_the_place_of_a_server_that_has_answered_is_waited_out(
    api: ApiServer, cluster: Cluster, time: Time, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hotel's or VPN's page answers 200 to everything."""
    api.put("jobs", "train")
    get(cluster, JOB, "train")
    monkeypatch.setattr(json, "loads", lambda text: raise_no_json(text))
    time.at_sleep = lambda: monkeypatch.undo() if sum(time.pauses) > 100 else None
    assert get(cluster, JOB, "train") is not None
    assert told == [
        "the API server is unreachable (an answer that is not JSON, perhaps a login page); waiting",
        "the API server is back",
    ]


def raise_no_json(text: str) -> None:
    raise json.JSONDecodeError("Expecting value", text, 0)


def test_certificate_of_a_server_that_has_answered_may_be_wrong_for_a_while(cluster: Cluster, time: Time) -> None:
    lost = "SSLError: certificate verify failed: CERTIFICATE_VERIFY_FAILED"
    with pytest.raises(ClusterError, match="is not trusted"):
        Patience(cluster, "get", "jobs.batch").wait(0, lost)
    Patience(cluster, "get", "jobs.batch").over()
    Patience(cluster, "get", "jobs.batch").wait(0, lost)
    assert time.pauses == [0.5]


class TestCreateOrAttach:
    """Trap 3 and 4: 409 is never simply fine."""

    def test_new_object_is_created(self, api: ApiServer, cluster: Cluster) -> None:
        found, made = create_or_attach(cluster, job())
        assert made
        assert found["metadata"]["uid"] == api.objects["jobs"]["train"]["metadata"]["uid"]

    def test_existing_object_with_the_same_hash_is_used(self, api: ApiServer, cluster: Cluster) -> None:
        create_once(cluster, job())
        found, made = create_or_attach(cluster, job())
        assert not made
        assert found["spec"] == job()["spec"]

    def test_object_with_another_hash_is_refused_and_the_difference_named(
        self, api: ApiServer, cluster: Cluster
    ) -> None:
        create_once(cluster, job(hash_="h2", image="b"))
        with pytest.raises(ConflictError) as caught:
            create_or_attach(cluster, job())
        assert caught.value.cause == "spec.template.spec.containers[main].image: b, wanted a"
        assert "kubectl -n lab delete jobs.batch train" in caught.value.remedy

    def test_object_without_a_hash_is_refused_even_when_it_looks_the_same(
        self, api: ApiServer, cluster: Cluster
    ) -> None:
        api.put("jobs", "train", kind="Job", spec=job()["spec"])
        unmarked = {**job(), "metadata": {"name": "train"}}
        for wanted in (job(), unmarked):
            with pytest.raises(ConflictError, match="not the one this run needs"):
                create_or_attach(cluster, wanted)

    def test_object_that_is_being_deleted_is_waited_for(self, api: ApiServer, cluster: Cluster, time: Time) -> None:
        api.put("jobs", "train", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})

        def deleted() -> None:
            if len(time.pauses) == 3:
                api.remove("jobs", "train")

        time.at_sleep = deleted
        assert create_or_attach(cluster, job())[1]

    def test_object_that_is_never_deleted_is_an_error(self, api: ApiServer, cluster: Cluster, time: Time) -> None:
        api.put("jobs", "train", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x/y"]})
        with pytest.raises(ConflictError, match="does not disappear: finalizers: x/y"):
            create_or_attach(cluster, job())

    def test_secret_with_other_credentials_is_refused_without_naming_them(
        self, api: ApiServer, cluster: Cluster
    ) -> None:
        coded = base64.b64encode(b"last week's").decode()
        api.put("secrets", "s", kind="Secret", data={"key": coded}, metadata={"labels": {HASH_LABEL: "other"}})
        with pytest.raises(ConflictError) as caught:
            create_or_attach(cluster, secret())
        text = caught.value.render()
        assert "data.key: another value" in text
        assert not [word for word in (CANARY, coded, "last week") if word in text]


def test_wait_gone_ends_when_it_is_gone_or_time_is_up(api: ApiServer, cluster: Cluster, time: Time) -> None:
    api.put("jobs", "train")
    assert not wait_gone(cluster, JOB, "train", 5)
    time.at_sleep = lambda: api.objects["jobs"].clear()
    assert wait_gone(cluster, JOB, "train", 5)


def test_events_about_an_object_come_oldest_first(api: ApiServer, cluster: Cluster) -> None:
    about = {"kind": "Pod", "name": "p"}
    api.put("events", "e2", involvedObject=about, lastTimestamp="2026-01-01T00:00:02Z", message="two")
    api.put("events", "e1", involvedObject=about, eventTime="2026-01-01T00:00:01.5Z", message="one")
    api.put("events", "e3", involvedObject={"kind": "Job", "name": "p"}, message="other")
    assert [e["message"] for e in events_of(cluster, POD, "p")] == ["one", "two"]


def test_unreadable_events_count_as_none(api: ApiServer, cluster: Cluster) -> None:
    api.faults.append(Fault("list", "events", 403))
    assert events_of(cluster, POD, "p") == []
