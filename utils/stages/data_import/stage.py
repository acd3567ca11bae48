"""Stage 2: base model, taxonomy and generated data come to the run's volume."""

import shutil
import time
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path

from utils.stages.authorities import ca_bundle
from utils.stages.chat_template.choice import choose_chat_template
from utils.stages.data_import.git import TaxonomySource, clone_taxonomy, head_commit
from utils.stages.data_import.model import check_base_model
from utils.stages.data_import.tree import (
    assemble_tree,
    download_archive,
    fetch_model,
    import_folder,
)
from utils.stages.disk import tells_full_disk
from utils.stages.folders import own_path
from utils.stages.marker import change_result, finished_result, from_record, inputs_hash, size_of, write_marker
from utils.stages.object_store.client import store_of_secret
from utils.stages.object_store.download import Download, ObjectStat, object_stat
from utils.stages.results import Imported
from utils.stages.train.folder import require_training_room


@dataclass(frozen=True)
class DataImport:
    """What the stage is given: the parameters of the component `data_import`."""

    data_dir: str
    store_secret_dir: str
    data_key: str
    ca_file: str
    base_model: str
    taxonomy_url: str
    taxonomy_branch: str
    taxonomy_pr: int
    taxonomy_commit: str
    taxonomy_secret_dir: str
    chat_template: str
    force: bool
    checkpoint_dtype: str = "auto"

    @property
    def taxonomy(self) -> TaxonomySource:
        """Where the taxonomy comes from, if not from the archive."""
        return TaxonomySource(self.taxonomy_url, self.taxonomy_branch, self.taxonomy_pr, self.taxonomy_commit)


@tells_full_disk
def import_data(given: DataImport) -> dict[str, float]:
    """Import what the run starts from, unless that is done, and leave the marker; returns the stage's metrics."""
    started, source, data_dir = time.time(), given.taxonomy, given.data_dir
    check_base_model(given.base_model)
    source.check()
    from_archive = [part for part, url in {"model": given.base_model, "taxonomy": source.url}.items() if not url]
    ca, store, archive = ca_bundle(given.ca_file), None, None
    own = own_path(given.data_key)
    stored = bool(from_archive) and not own
    if from_archive and own:
        archive = ObjectStat(own, size_of(own), "", True, "")
    if stored or given.base_model.startswith("s3://"):
        store = store_of_secret(given.store_secret_dir, ca, stored, given.data_key)
        archive = object_stat(store, store.data_key) if stored else archive
    inputs = {
        "archive": asdict(archive) if archive else {},
        "base_model": given.base_model,
        "taxonomy": list(astuple(source)),
    }
    found = finished_result(data_dir, "data_import", inputs, given.force)
    result = from_record(Imported, found or {})
    if found is None:
        work = import_folder(data_dir, inputs_hash(inputs))
        got = Download(archive.key, "", archive.size, "") if archive else Download("", "", 0, "")
        if store and archive and stored:
            got = download_archive(store, archive, work / "archive")
        if given.base_model:
            fetch_model(given.base_model, store, work / "model")
        if source.url:
            clone_taxonomy(source, given.taxonomy_secret_dir, ca, work / "taxonomy")
        outputs, orders = assemble_tree(work, Path(own or work / "archive"), from_archive, data_dir, ca)
        result = Imported(
            *(got.key, got.sha256, got.size, got.check),
            model_source=given.base_model or "archive",
            taxonomy_commit=head_commit(Path(data_dir, "taxonomy")),
            data_generated_elsewhere="sdg" in outputs,
            role_orders=orders,
        )
        shutil.rmtree(work)
        write_marker(data_dir, "data_import", inputs, outputs, result, started)
    # Not among the inputs: synthetic data does not depend on it.
    template = choose_chat_template(data_dir, given.chat_template, result.role_orders)
    change_result(data_dir, "data_import", replace(result, chat_template=template))
    print(f"chat template: {template.name} ({template.why})\n{template.example}", flush=True)
    require_training_room(data_dir, given.checkpoint_dtype)
    return {
        "imported_archive_bytes": result.size,
        "imported_samples_given": float(result.data_generated_elsewhere),
    }
