"""The flags of `standalone.py run` as data: name, default, environment variable, meaning, and what each one sets."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Flag:
    """One flag.

    Attributes:
        name: as typed, like `--nproc-per-node`.
        help: its meaning, for users.
        default: None means unset; never "", because a blank value counts as unset.
        kind: text, integer, number, boolean (takes true or false), switch, on_off (--x/--no-x), choice, file, folder,
            many, files, namespace, account.
        variable: its environment variable; "" for ILAB_ and the name.
        sets: pipeline parameters that get the value unchanged.
        choices: of the kind choice.
        metavar: what help shows for the value.
        secret: the value never appears in output, and `show` does not take it.
    """

    name: str
    help: str
    default: Any = None
    kind: str = "text"
    variable: str = ""
    sets: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    metavar: str = ""
    secret: bool = False

    @property
    def key(self) -> str:
        """Its name in Python: nproc_per_node."""
        return self.name.removeprefix("--").replace("-", "_")

    @property
    def envvar(self) -> str:
        return self.variable or f"ILAB_{self.key.upper()}"


_CA_KEY = "ca-bundle.crt"

_OBJECT_STORE = (
    Flag(
        "--sdg-object-store-secret",
        "Secret of the object store: bucket, access_key, secret_key, data_key; optional endpoint, region, verify_tls. "
        "Flags on the command line replace single keys; environment variables do not.",
        variable="SDG_OBJECT_STORE_SECRET",
    ),
    Flag(
        "--sdg-object-store-endpoint",
        "Address of the object store, with http:// or https://. Unset: AWS S3.",
        variable="SDG_OBJECT_STORE_ENDPOINT",
    ),
    Flag(
        "--sdg-object-store-bucket",
        "Bucket with the archive; the result is uploaded there too.",
        variable="SDG_OBJECT_STORE_BUCKET",
    ),
    Flag(
        "--sdg-object-store-access-key",
        "Access key. Prefer its variable to the command line.",
        variable="SDG_OBJECT_STORE_ACCESS_KEY",
        secret=True,
    ),
    Flag(
        "--sdg-object-store-secret-key",
        "Secret key. Prefer its variable to the command line.",
        variable="SDG_OBJECT_STORE_SECRET_KEY",
        secret=True,
    ),
    Flag("--sdg-object-store-region", "Region of the bucket.", variable="SDG_OBJECT_STORE_REGION"),
    Flag(
        "--sdg-object-store-data-key",
        "Key of the archive in the bucket: a gzip tar with model/, taxonomy/ and, without --sdg-in-cluster, data/.",
        variable="SDG_OBJECT_STORE_DATA_KEY",
    ),
    Flag(
        "--sdg-object-store-verify-tls",
        "Verify the store's certificate. Blank means the default; an unknown word is rejected.",
        True,
        "boolean",
        "SDG_OBJECT_STORE_VERIFY_TLS",
    ),
)

_JUDGE = (
    Flag(
        "--judge-serving-model-secret",
        "Secret of the judge: JUDGE_ENDPOINT, JUDGE_NAME, JUDGE_API_KEY (or endpoint, model_name, api_token); "
        "optional JUDGE_CA_CERT, JUDGE_CA_CERT_CM_KEY. Flags on the command line replace single keys.",
        variable="JUDGE_SERVING_MODEL_SECRET",
    ),
    Flag("--judge-serving-model-endpoint", "Address of the judge's OpenAI API, like http://HOST:8080/v1."),
    Flag("--judge-serving-model-name", "Name of the judge's model there."),
    Flag(
        "--judge-serving-model-api-key",
        "API key of the judge. Prefer its variable to the command line.",
        variable="JUDGE_SERVING_MODEL_API_KEY",
        secret=True,
    ),
    Flag("--judge-serving-model-ca-cert", "ConfigMap with the authority that signed the judge's certificate."),
    Flag("--judge-serving-model-ca-cert-cm-key", "Key of the certificate in that ConfigMap.", _CA_KEY),
)

_DATA = (
    Flag(
        "--sdg-in-cluster",
        "Generate synthetic data with the teacher. Without this flag, the archive must contain data/.",
        False,
        "switch",
    ),
    Flag(
        "--sdg-serving-model-secret",
        "Secret of the teacher: endpoint, model, api_key (or endpoint, model_name, api_token); optional SDG_CA_CERT, "
        "SDG_CA_CERT_CM_KEY. Flags on the command line replace single keys.",
        variable="SDG_SERVING_MODEL_SECRET",
    ),
    Flag("--sdg-serving-model-endpoint", "Address of the teacher's OpenAI API, like http://HOST:8080/v1."),
    Flag("--sdg-serving-model-name", "Name of the teacher's model there."),
    Flag(
        "--sdg-serving-model-api-key",
        "API key of the teacher. Prefer its variable to the command line.",
        variable="SDG_SERVING_MODEL_API_KEY",
        secret=True,
    ),
    Flag(
        "--sdg-serving-model-ca-cert",
        "ConfigMap with the authority that signed the teacher's certificate.",
        variable="SDG_SERVING_MODEL_CA_CERT",
    ),
    Flag(
        "--sdg-serving-model-ca-cert-cm-key",
        "Key of the certificate in that ConfigMap.",
        _CA_KEY,
        variable="SDG_SERVING_MODEL_CA_CERT_CM_KEY",
    ),
    Flag(
        "--sdg-pipeline",
        "How samples are generated: simple, full, or a folder in the image with SDG pipeline YAML.",
        "simple",
        sets=("sdg_pipeline",),
    ),
    Flag(
        "--sdg-sampling-size",
        "Fraction of the image's precomputed skills to mix in, 0 to 1; 1: as its recipe says.",
        1.0,
        "number",
        "SDG_SERVING_MODEL_SAMPLING_SIZE",
        ("sdg_sample_size",),
    ),
    Flag(
        "--num-instructions-to-generate",
        "Samples per seed example, where the SDG pipeline has `n: scaled` (simple has).",
        30,
        "integer",
        sets=("sdg_scale_factor",),
    ),
    Flag(
        "--taxonomy-repo-url",
        "Git repository of the taxonomy, https or ssh. Unset: taxonomy/ of the archive.",
        sets=("sdg_repo_url",),
    ),
    Flag(
        "--taxonomy-repo-branch",
        "Branch of the taxonomy to clone from --taxonomy-repo-url. Without a URL, only the report names it: the "
        "archive's whole taxonomy is used as it is.",
    ),
    Flag(
        "--taxonomy-repo-pr",
        "Pull request of the taxonomy, by number, instead of a branch; -1, 0 or blank: none. Without a URL, only the "
        "report names it.",
    ),
    Flag(
        "--taxonomy-repo-secret",
        "Secret of a private taxonomy repository: username and password, or ssh-privatekey and known_hosts.",
        sets=("sdg_repo_secret",),
    ),
    Flag(
        "--force-pull",
        "Repeat stages whose inputs have changed on a volume that already holds their results.",
        False,
        "switch",
        sets=("force_pull",),
    ),
)

_TRAINING = (
    Flag(
        "--nproc-per-node",
        "GPUs of each training pod, with one process per GPU. 0: train on CPU.",
        1,
        "integer",
        sets=("train_gpu_per_worker",),
    ),
    Flag("--training-nodes", "Number of training pods.", 2, "integer", sets=("train_num_workers",)),
    Flag("--training-phase", "Phase that `train` runs.", kind="choice", choices=("1", "2")),
    Flag(
        "--model-to-train",
        "For `train`: folder on the volume that the phase starts from, such as a checkpoint. Unset: model/ in phase 1, "
        "the last checkpoint of phase 1 in phase 2.",
        metavar="PATH",
    ),
    *(
        flag
        for n, epochs, data in ((1, 7, "knowledge"), (2, 10, "skills"))
        for flag in (
            Flag(
                f"--training-{n}-epoch-num",
                f"Passes over the {data} data in phase {n}; each leaves a checkpoint.",
                epochs,
                "integer",
                sets=(f"train_num_epochs_phase_{n}",),
            ),
            Flag(
                f"--training-{n}-effective-batch-size",
                f"Samples per optimizer step in phase {n}, over all GPUs.",
                3840,
                "integer",
                sets=(f"train_effective_batch_size_phase_{n}",),
            ),
            Flag(
                f"--training-{n}-learning-rate",
                f"Peak learning rate of phase {n}.",
                1e-4,
                "number",
                sets=(f"train_learning_rate_phase_{n}",),
            ),
            Flag(
                f"--training-{n}-warmup-steps",
                f"Steps until phase {n} reaches its peak learning rate.",
                800,
                "integer",
                sets=(f"train_num_warmup_steps_phase_{n}",),
            ),
        )
    ),
    Flag("--training-seed", "Seed of training and of the held-out split.", 42, "integer", sets=("train_seed",)),
    Flag(
        "--chat-template",
        "Chat template for conversations: ibm_generic_tmpl, ibm_legacy_tmpl, mistral_tmpl, or a file on the volume "
        "in the same format. Unset: the base model's own, or the one for its family.",
        sets=("train_chat_template",),
    ),
    Flag(
        "--training-save-samples",
        "Samples between checkpoints inside an epoch. 0: checkpoints only after each epoch.",
        0,
        "integer",
        sets=("train_save_samples",),
    ),
    Flag(
        "--training-keep-checkpoints",
        "Number of newest phase 2 checkpoints to keep, as far as the volume has space. 0: all.",
        0,
        "integer",
        sets=("train_keep_checkpoints",),
    ),
    Flag(
        "--max-batch-len",
        "Tokens per micro-batch on one GPU; at least --max-seq-len.",
        20000,
        "integer",
        sets=("train_max_batch_len", "sdg_max_batch_len"),
    ),
    Flag("--max-seq-len", "Longest sequence, in tokens.", 4096, "integer", sets=("train_max_seq_len",)),
    Flag(
        "--cpu-offload",
        "Keep optimizer state and parameters in CPU memory (FSDP): slower, but needs less GPU memory.",
        True,
        "on_off",
        sets=("train_cpu_offload",),
    ),
    Flag(
        "--mirror-states",
        "Copy what training has saved to the object store; a run on a new volume with the same data continues there.",
        False,
        "on_off",
        sets=("train_mirror_states",),
    ),
    Flag("--training-cpu", "CPUs of each training pod.", "2", sets=("train_cpu_per_worker",)),
    Flag("--training-memory", "Memory of each training pod.", "250Gi", sets=("train_memory_per_worker",)),
    Flag("--training-timeout", "Longest training time of a phase, like 72h.", "168h", sets=("train_timeout",)),
    Flag(
        "--gpu-identifier",
        "Resource name of the GPUs.",
        "nvidia.com/gpu",
        sets=("train_gpu_identifier", "eval_gpu_identifier"),
    ),
    Flag(
        "--node-selector",
        "Label of the nodes that GPU pods may run on. Can be repeated.",
        (),
        "many",
        metavar="KEY=VALUE",
    ),
    Flag(
        "--toleration",
        "Taint that GPU pods tolerate. Can be repeated. Without =VALUE any value, without :EFFECT any effect.",
        (),
        "many",
        metavar="KEY[=VALUE][:EFFECT]",
    ),
)

_EVALUATION = (Flag("--eval-type", "What `evaluation` runs.", kind="choice", choices=("mt-bench", "final")),)

_VOLUME = (
    Flag(
        "--storage-class",
        "Storage class of the run's volume; it must offer ReadWriteMany. Unset: the cluster's default.",
    ),
    Flag("--storage-size", "Size of the run's volume.", "200Gi", sets=("k8s_storage_size",)),
    Flag(
        "--keep-volume",
        "Keep the run's volume at the end. Unset: on_failure for a whole run, which also keeps it if the gate rejects "
        "the candidate; always if a subcommand runs a part.",
        kind="choice",
        choices=("never", "on_failure", "always"),
    ),
)

_CLUSTER = (
    Flag(
        "--namespace",
        "Namespace of the run. Unset: the pod's own, or that of the kubeconfig's context.",
        kind="namespace",
    ),
    Flag("--kubeconfig", "Kubeconfig file. Unset: the pod's service account, else $KUBECONFIG, ~/.kube/config."),
    Flag("--context", "Context of the kubeconfig. Unset: the current one."),
    Flag(
        "--service-account",
        "Service account of the tasks' pods. Unset: this pod's own, else the namespace's default.",
        kind="account",
    ),
    Flag(
        "--image",
        "Another image for the tasks of NAME: instructlab, notebook, all, or one task. Can be repeated.",
        (),
        "many",
        metavar="NAME=REF",
    ),
    Flag(
        "--pod-overlay",
        "YAML file with `metadata` and `spec` of a pod template, merged into every pod: pull secrets, queue labels, "
        "proxies. A container named * applies to all containers.",
        kind="file",
        variable="ILAB_POD_OVERLAY_FILE",
    ),
    Flag(
        "--pending-timeout",
        "Longest wait for a task's pod, and for the training pods, to start, like 60m or 2h.",
        "60m",
        sets=("train_pending_timeout",),
    ),
    Flag(
        "--queue",
        "LocalQueue of Kueue in which everything that requests a GPU waits. Unset: none.",
        sets=("k8s_queue",),
        metavar="NAME",
    ),
    Flag("--queue-timeout", "Longest wait in the queue, like 24h.", "24h", sets=("k8s_queue_timeout",)),
)

_RUN = (
    Flag(
        "--dry-run",
        "Print what would be created as YAML, without Secret values and without connecting to a cluster.",
        False,
        "switch",
    ),
    Flag(
        "--run-id",
        "Name of the run; its volume is ilab-ID. Unset: in a pod its host name and a hash of the flags, so that a "
        "restarted pod resumes its run; for subcommands `standalone`; else a new name.",
        metavar="ID",
    ),
    Flag("--resume", "Resume a failed run: keep what finished.", False, "switch"),
    Flag("--keep-jobs", "Keep the Jobs, with their pods and logs, after the run has ended.", False, "switch"),
    Flag("--home", "Folder for the logs of the run.", kind="folder"),
    Flag("--output", "json prints one JSON document at the end.", "text", "choice", choices=("text", "json")),
    Flag(
        "--param",
        "Any other pipeline parameter (docs/parameters.md); overrides flags. Can be repeated.",
        (),
        "many",
        metavar="NAME=VALUE",
    ),
    Flag("--params", "YAML file with pipeline parameters; overrides flags.", (), "files"),
)

SECTIONS: dict[str, tuple[Flag, ...]] = {
    "Object store": _OBJECT_STORE,
    "Judge": _JUDGE,
    "Data": _DATA,
    "Training": _TRAINING,
    "Evaluation": _EVALUATION,
    "Volume": _VOLUME,
    "Cluster": _CLUSTER,
    "Run": _RUN,
}
"""All flags of `run` by their heading in the help."""

FLAGS: dict[str, Flag] = {flag.key: flag for flags in SECTIONS.values() for flag in flags}
