"""Runs in the stages' interpreter: `run_sdg.py WORK_DIR` prints what the SDG stage did with each teacher as JSON."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from components.data_processing import data_processing
from components.sdg import sdg
from tests.archives import write_files
from tests.fakes.json_server import JsonHandler
from tests.fakes.metrics import Metrics
from tests.fakes.waiting import QUARTER, FakeTime
from tests.stages.data_import.taxonomies import BY_KIND
from utils.demo.base_model import packaged_gguf
from utils.demo.taxonomy import EXAMPLES, make_document_repo, make_taxonomy
from utils.stages.credentials import ModelServer
from utils.stages.data_import.leaves import check_leaf
from utils.stages.marker import read_marker, write_marker
from utils.stages.results import Imported
from utils.stages.sdg import stage
from utils.stages.sdg.teacher import Teacher

TOKEN = "canary-5f2c"
IDENTITY = ["-c", "user.name=a", "-c", "user.email=a@b"]


class FakeTeacher(JsonHandler):
    """An OpenAI-compatible server whose behaviour is a word in the class: good, chatty, html, refusing, slow, away.

    Away means a quarter of an hour of `clock`, once two prompts were answered. `accepted` is the only token it takes.
    """

    behaviour = "good"
    accepted = ""
    clock = FakeTime()
    prompts = 0
    fail_after = 10**9

    def do_GET(self) -> None:
        self.reply(404, {"error": "not here"})

    def do_POST(self) -> None:
        body = self.read()
        if FakeTeacher.behaviour == "refusing":
            return self.reply(401, {"error": {"message": f"wrong key {self.headers['authorization']}"}})
        if FakeTeacher.accepted and self.headers["authorization"] != f"Bearer {FakeTeacher.accepted}":
            return self.reply(401, {"error": {"message": "no longer"}})
        if FakeTeacher.behaviour == "away" and FakeTeacher.prompts > 2 and FakeTeacher.clock.now < QUARTER:
            return self.reply(503, {"error": {"message": "starting"}})
        if FakeTeacher.behaviour == "html":
            return self.reply(200, "<html>login</html>")
        if FakeTeacher.behaviour == "slow":
            waiting.wait(30)
        prompts, n = body["prompt"], body.get("n", 1)
        if body["max_tokens"] > 1:
            FakeTeacher.prompts += len(prompts)
            if FakeTeacher.prompts > FakeTeacher.fail_after:
                return self.reply(400, {"error": {"message": "out of credit"}})
        texts = [self.answer(prompt, i) for prompt in prompts for i in range(n)]
        return self.reply(200, {"choices": [{"text": text, "index": i} for i, text in enumerate(texts)]})

    def answer(self, prompt: str, number: int) -> str:
        """A sample in the form the example pipeline's blocks parse."""
        if FakeTeacher.behaviour == "chatty":
            return "Sure! I would love to help you with that."
        thing = f"{abs(hash(prompt)) % 10**6} {number}"
        if "multiple choice" in prompt:
            options = "A) one\nB) two\nC) three\nD) four"
            return f"[Question]\nWhich {thing}?\n\n{options}\n[End Question]\n[Answer]\nB) two\n[End Answer]"
        context = f"[Context] On {thing}. [End Context]\n" if "[Context]" in prompt else ""
        return f"{context}[Question] What is {thing}? [End Question]\n[Answer] It is {thing}. [End Answer]"


waiting = threading.Event()


def make_volume(folder: Path, model: Path, kinds: tuple[str, ...], leaves: int = 99) -> Path:
    """A volume after data import, with leaves only of these kinds, and the files of the base model that SDG reads.

    Args:
        leaves: most of a kind.
    """
    shutil.copytree(model, folder / "model")
    taxonomy = make_taxonomy(folder / "made")
    for kind in ("knowledge", "compositional_skills"):
        if kind in kinds:
            shutil.copytree(taxonomy / kind, folder / "taxonomy" / kind)
            for qna in sorted((folder / "taxonomy" / kind).rglob("qna.yaml"), reverse=True)[leaves:]:
                qna.unlink()
    return folder


def run(volume: Path, secret: Path, **changes: Any) -> dict[str, Any]:
    """Run the stage; returns its result, or the failure's text."""
    metrics = Metrics()
    arguments: dict[str, Any] = {
        **{"data_dir": str(volume), "teacher_secret_dir": str(secret), "ca_file": "", "force": False},
        **{"sdg_pipeline": str(EXAMPLES / "sdg-pipeline"), "teacher_family": "auto", "scale_factor": 2},
        **{
            "sample_size": 1.0,
            "batch_size": 2,
            "num_workers": 2,
            "system_prompt": "",
            "samples_per_skill": 0,
            "held_out_seeds": 0,
            **changes,
        },
    }
    try:
        sdg.python_func(**arguments, metrics=metrics)
    except SystemExit as error:
        return {"failure": str(error), "left": sorted(p.name for p in volume.iterdir())}
    return {"result": read_marker(str(volume), "sdg")["result"], "prompts": FakeTeacher.prompts}


def teachers(work: Path, model: Path, secret: Path, port: int) -> dict[str, Any]:
    """Each behaviour of a teacher, and what the stage says."""
    seen: dict[str, Any] = {}
    FakeTeacher.fail_after = 4
    broken = make_volume(work / "broken", model, ("knowledge", "compositional_skills"))
    seen["broken_off"] = run(broken, secret)
    FakeTeacher.fail_after, FakeTeacher.prompts = 10**9, 0
    seen["resumed"] = run(broken, secret)
    seen["files"] = sorted(p.name for p in (broken / "sdg").iterdir())
    questions = [json.loads(line) for file in (broken / "sdg").glob("*/mmlubench_*.jsonl") for line in file.open()]
    seen["right_answers"] = sorted({row["answer"] for row in questions})
    for kind in ("knowledge", "compositional_skills"):
        seen[kind] = run(make_volume(work / kind, model, (kind,)), secret)
    for behaviour in ("chatty", "html", "refusing"):
        FakeTeacher.behaviour = behaviour
        seen[behaviour] = run(make_volume(work / behaviour, model, ("compositional_skills",)), secret)
    FakeTeacher.behaviour = "slow"
    server = ModelServer(f"http://127.0.0.1:{port}/v1", "teacher", TOKEN)
    try:
        slow = Teacher(server, model, timeout=0.2, patience=FakeTime().patience(5))
        with slow.errors("a/leaf"):
            slow.client.completions.create(model="teacher", prompt="x", max_tokens=5)
    except SystemExit as error:
        seen["slow"] = str(error)
    waiting.set()
    FakeTeacher.behaviour, FakeTeacher.prompts = "away", 0
    FakeTeacher.clock.now = 0
    seen["away"] = run(make_volume(work / "away", model, ("compositional_skills",)), secret)
    seen["away"]["waited"] = FakeTeacher.clock.now
    FakeTeacher.accepted, FakeTeacher.clock.now = "renewed", QUARTER
    FakeTeacher.clock.at(QUARTER + 5, lambda: (secret / "api_token").write_text("renewed"))
    seen["renewed"] = renewed(make_volume(work / "renewed", model, ("compositional_skills",)), secret)
    FakeTeacher.behaviour, FakeTeacher.accepted = "good", ""
    (secret / "endpoint").write_text("http://127.0.0.1:9")
    seen["down"] = run(make_volume(work / "down", model, ("compositional_skills",)), secret)
    return seen


def renewed(volume: Path, secret: Path) -> dict[str, Any]:
    """The stage with a teacher that takes another token from the third prompt on."""
    FakeTeacher.prompts, FakeTeacher.accepted, real = 0, TOKEN, FakeTeacher.answer

    def answer(self: FakeTeacher, prompt: str, number: int) -> str:
        if FakeTeacher.prompts > 2:
            FakeTeacher.accepted = "renewed"
        return real(self, prompt, number)

    FakeTeacher.answer = answer  # type: ignore[method-assign]
    try:
        return run(volume, secret)
    finally:
        FakeTeacher.answer = real  # type: ignore[method-assign]


def corrections(work: Path, model: Path, secret: Path) -> dict[str, Any]:
    """Requests while the last knowledge leaf names a commit that is not there, then with it, then one leaf changed."""
    volume, seen = make_volume(work / "corrected", model, ("knowledge", "compositional_skills")), {}
    pellwick = volume / "taxonomy" / "knowledge" / "geography" / "towns" / "pellwick" / "qna.yaml"
    dates = volume / "taxonomy" / "compositional_skills" / "extraction" / "dates" / "qna.yaml"
    good = pellwick.read_text()
    changes = {
        "wrong": (pellwick, re.sub("commit: .*", "commit: " + "dead" * 10, good)),
        "right": (pellwick, good),
        "changed": (dates, dates.read_text().replace("whale", "seal")),
    }
    for number, (name, (qna, text)) in enumerate(changes.items()):
        qna.write_text(text)
        FakeTeacher.prompts = 0
        write_marker(str(volume), "data_import", {"archive": number}, [], Imported(), 0)
        seen[name] = run(volume, secret, force=True) | {"prompts": FakeTeacher.prompts}
        if (volume / "sdg").exists():  # as data import leaves it for the next one
            (volume / "sdg").rename(volume / "sdg.part")
    return seen


def imported_again(work: Path, model: Path, secret: Path) -> dict[str, bool]:
    """Files of data processing, and whether a run that imports the samples of another one has the same."""
    first, second = make_volume(work / "first", model, ("knowledge", "compositional_skills")), work / "second"
    write_marker(str(first), "data_import", {"archive": 1}, [], Imported(), 0)
    run(first, secret, held_out_seeds=1)
    for name in ("model", "taxonomy", "sdg"):
        shutil.copytree(first / name, second / name)
    write_marker(str(second), "data_import", {"archive": 2}, [], Imported(data_generated_elsewhere=True), 0)
    run(second, secret, held_out_seeds=1)
    for volume in (first, second):
        data_processing.python_func(
            data_dir=str(volume), held_out_fraction=0.2, max_seq_len=1000, max_batch_len=1000, seed=42, force=False,
            checks={}, mmlu_tasks=[], eval_tasks=[], review="off", run_id="x", store_secret_dir="", ca_file="",
            metrics=Metrics(),
        )  # fmt: skip
    files = [path.relative_to(first) for path in first.glob("processed/**/*.jsonl")]
    return {str(file): (first / file).read_bytes() == (second / file).read_bytes() for file in files}


def unreadable(work: Path, model: Path, secret: Path) -> dict[str, Any]:
    """What the stage says about documents that it or the library refuses, on a volume of an earlier version."""
    repo, seen = work / "unreadable-documents", {}
    documents = {"lfs.md": b"version https://git-lfs.github.com/spec/v1\n", "broken.pdf": b"%PDF-1.4 x\n%%EOF\n"}
    make_document_repo(write_files(work / "documents", documents), repo)
    repo.joinpath("link.md").symlink_to(secret / "api_token")
    subprocess.run(["git", "-C", repo, "add", "."], check=True)
    subprocess.run(["git", "-C", repo, *IDENTITY, "commit", "-qm", "link"], check=True)
    for name in [*documents, "link.md"]:
        volume = make_volume(work / "unreadable" / name, model, ("knowledge",))
        shutil.rmtree(volume / "taxonomy" / "knowledge" / "arts")
        qna = volume / "taxonomy" / "knowledge" / "geography" / "towns" / "pellwick" / "qna.yaml"
        text = qna.read_text().split("document:")[0]
        qna.write_text(text + f"document:\n  repo: {repo}\n  commit: HEAD\n  patterns:\n    - {name}\n")
        seen[name] = run(volume, secret)
    return seen


def taxonomies(work: Path) -> dict[str, Any]:
    """Whether the library and data import refuse a leaf, by its kind and name."""
    from instructlab.schema.taxonomy import TaxonomyParser, TaxonomyReadingException

    seen: dict[str, Any] = {}
    parser = TaxonomyParser(schema_version=0, yamllint_strict=True, message_format="logging")  # as instructlab-sdg
    for kind, groups in BY_KIND.items():
        leaf = work / kind / "a" / "qna.yaml"
        leaf.parent.mkdir(parents=True)
        for name, text in (one for group in groups for one in group.items()):
            leaf.write_bytes(text.encode() if isinstance(text, str) else text)
            try:
                parsed = parser.parse(leaf)
                refused = bool(parsed.errors or parsed.warnings)
            except TaxonomyReadingException:
                refused = True
            seen[f"{kind}: {name}"] = [refused, bool(check_leaf(work, f"{kind}/a")[2])]
    return seen


def tiny_model(folder: Path) -> Path:
    """The files of a base model that SDG reads."""
    from transformers import AutoTokenizer

    gguf = packaged_gguf()
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))
    (folder / "model.safetensors").touch()
    return folder


def main(work: Path) -> dict[str, Any]:
    stage.Teacher = functools.partial(Teacher, patience=FakeTeacher.clock.patience())  # type: ignore[misc, assignment]
    model = tiny_model(work / "model")
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeTeacher)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
    secret = work / "teacher"
    secret.mkdir()
    for key, value in (("endpoint", f"http://127.0.0.1:{port}"), ("model_name", "teacher"), ("api_token", TOKEN)):
        (secret / key).write_text(value)
    seen = {"taxonomies": taxonomies(work / "taxonomies"), "corrections": corrections(work, model, secret)}
    seen["imported_again"] = imported_again(work / "imported", model, secret)
    seen["unreadable"] = unreadable(work, model, secret)
    FakeTeacher.prompts = 0
    seen |= teachers(work, model, secret, port)
    server.shutdown()
    return seen


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # yamllint
    print(json.dumps(main(Path(sys.argv[1]))))
