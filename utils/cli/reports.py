"""The report of a run, wherever it is: in the run's folder, in a result's folder, or in the object store."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.cli.results import collect_report, published
from utils.cli.store_access import named_store, run_store, stage_errors
from utils.errors import IlabError, UsageError
from utils.foreign_text import SHAPE_ERRORS, TextError, read_json
from utils.ir.load import load
from utils.runners.run_folder import RunFolder, find_run
from utils.stages.object_store.client import ObjectStore

_MOST = 256 << 20
"""Bytes of a report's file."""
_ENDINGS = (".report.html", ".report.json", ".html", ".json")


@dataclass(frozen=True)
class Report:
    """A run's report.

    Attributes:
        name: for people: the run's id.
        facts: of report.json.
        page: on this machine; None if only the facts are here.
        address: where it comes from.
        parameters: of the pipeline, defaults included; {} if they are not known.
    """

    name: str
    facts: dict[str, Any]
    page: Path | None
    address: str
    parameters: dict[str, Any]


def find_report(given: str, home: Path, secret: Path | None, ca: Path | None, command: str) -> Report:
    """The report that a word of the user names.

    Args:
        given: a run of this home, or with a Secret an archive's key in the object store; or a report's file, or a
            folder with one.
        command: for remedies, the command so far.

    Raises:
        UsageError: there is none.
        IlabError: it can't be read.
    """
    path = Path(given)
    with contextlib.ExitStack() as stack:
        if path.is_dir() or path.is_file():
            return _in_folder(given, path if path.is_dir() else path.parent, path if path.is_file() else None)
        if "/" in given or given.endswith((".tar", ".gz", ".tgz", *_ENDINGS)):
            if not secret:
                raise UsageError(
                    f"there is no file {given} here", "", f"if the object store has it: {command} --secret FILE"
                )
            return _stored(named_store(_stem(given), secret, ca, stack), home / "reports")
        return _of_run(find_run(home, given), secret, ca, command, stack)


def _of_run(
    folder: RunFolder, secret: Path | None, ca: Path | None, command: str, stack: contextlib.ExitStack
) -> Report:
    address = published(folder.history().finished)["report"]
    defaults = {name: one.default for name, one in load(folder.package).parameters.items() if one.has_default}
    parameters = {**defaults, **folder.arguments}
    page, data = folder.path / "report.html", folder.path / "report.json"
    if not (page.is_file() and data.is_file()) and not folder.cluster_settings:
        collect_report(folder)
    if data.is_file():
        return Report(folder.run_id, _facts(data), page, address or str(page), parameters)
    if not address:
        raise UsageError(
            f"the run {folder.run_id} has no report",
            "it has not come that far, or the report was not stored",
            f"see how far it came: ilab-pipeline status {folder.run_id}",
        )
    if address.startswith("/"):
        found = _in_folder(folder.run_id, Path(address).parent, None)
    else:
        found = _stored(run_store(folder, _stem(address), secret, ca, command, stack), folder.path)
    return Report(folder.run_id, found.facts, found.page, address, parameters)


def _in_folder(name: str, folder: Path, file: Path | None) -> Report:
    data = file if file and file.suffix == ".json" else folder / "report.json"
    page = data.with_suffix(".html")
    if not data.is_file():
        raise UsageError(f"there is no report in {folder}", f"there is no {data.name}", "name a run or its folder")
    facts = _facts(data)
    return Report(str(facts.get("run_id") or name), facts, page if page.is_file() else None, str(data), {})


def _stored(store: ObjectStore, folder: Path) -> Report:
    """The report beside an archive, whose key is the store's data_key; page and facts are put into the folder."""
    name = store.data_key.rpartition("/")[2]
    made = folder.name == "reports"
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("html", "json"):
        with stage_errors():
            body: bytes = store.call("get_object", Key=f"{store.data_key}.report.{kind}")["Body"].read(_MOST + 1)
        if len(body) > _MOST:
            raise IlabError(f"{store.data_key}.report.{kind} has more than {_MOST >> 20} MiB", "it is not a report")
        target = folder / (f"{name}.report.{kind}" if made else f"report.{kind}")
        part = target.with_name(f"{target.name}.part")
        part.write_bytes(body)
        part.replace(target)  # half a report would pass for one that is here
    data = folder / (f"{name}.report.json" if made else "report.json")
    facts = _facts(data)
    address = f"s3://{store.bucket}/{store.data_key}.report.html"
    return Report(str(facts.get("run_id") or name), facts, data.with_suffix(".html"), address, {})


def _stem(key: str) -> str:
    """The archive's key, of the key of something beside it."""
    return next((key.removesuffix(ending) for ending in _ENDINGS[:2] if key.endswith(ending)), key)


@contextlib.contextmanager
def reading(*reports: Report) -> Iterator[None]:
    """For a block that reads the facts of reports, which anyone may have written.

    Raises:
        IlabError: they do not have the shape of a report's.
    """
    try:
        yield
    except SHAPE_ERRORS as error:
        where = " or ".join(report.address for report in reports)
        raise IlabError(f"{where} is not the report of a run", repr(error), "name another one") from None


def _facts(file: Path) -> dict[str, Any]:
    """The facts of a report's file.

    Raises:
        IlabError: it is not one.
    """
    try:
        facts = read_json(file.read_bytes(), parse_constant=lambda _: None)
        if not {"headline", "fate", "scores", "done", "comparisons"} <= facts.keys():
            raise ValueError("it lacks what a report has")
    except (TextError, *SHAPE_ERRORS) as error:
        raise IlabError(f"{file} is not the report of a run", str(error), "name another one") from None
    found: dict[str, Any] = facts
    return found
