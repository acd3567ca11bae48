"""What the tests of the checks share: Secrets as folders, and answers of model servers."""

from pathlib import Path

from tests.fakes.answers import Answer

TOKEN = "canary-5e1f0c"
# A try waits six times as long for its answer; the server under test is on loopback.
RETRY_SECONDS = 0.05
CHAT: Answer = (200, {"choices": [{"message": {"content": "Blue"}, "finish_reason": "stop"}]})
TEXT: Answer = (200, {"choices": [{"text": " Blue", "finish_reason": "stop"}]})


def secret(folder: Path, **values: str) -> str:
    folder.mkdir(parents=True)
    for key, value in values.items():
        (folder / key).write_text(value + "\n")
    return str(folder)
