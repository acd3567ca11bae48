"""Messages of a stage: lines stay whole, whoever else prints."""

import io
from contextlib import redirect_stdout

from utils.messages import progress


class Unbuffered(io.TextIOBase):
    """Standard output with PYTHONUNBUFFERED: between two writes, another thread may print."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        if text:
            self.text += f"{text}<another thread>\n"
        return len(text)


def test_line_of_another_thread_never_continues_a_progress_line() -> None:
    with redirect_stdout(Unbuffered()) as out:
        progress(3, 80, "answers")
    assert out.text.splitlines() == ["progress: 3/80 answers", "<another thread>"]
