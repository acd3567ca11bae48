"""The program of every rank, without the library: which rows each rank gets, and when it saves.

tests/e2e/test_ranks.py runs it with both versions of the library."""

import json
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import pytest

from utils.stages.train import packing, progress_server, trainer
from utils.stages.train.packing import deal, shares_that_fit, steps_of, tokens_of
from utils.stages.train.trainer import Every, name_type

LENGTHS = [30 + number % 7 * 100 for number in range(200)] + [3900]


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("rows", "count"), [(201, 8), (201, 64), (64, 64), (5, 4)])
def test_every_row_is_dealt_once(rows: int, count: int, padded: bool) -> None:
    shares = deal(range(201 - rows, 201), LENGTHS, count, padded)
    assert len(shares) == count
    assert sorted(row for share in shares for row in share) == list(range(201 - rows, 201))
    largest = max(tokens_of(share, LENGTHS, padded) for share in shares)
    assert largest <= 3900 + (3 if padded else 1) * sum(LENGTHS[201 - rows :]) / count


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("rows", "ranks"), [(1, 4), (3, 4), (11, 2), (201, 8)])
def test_all_ranks_get_as_many_shares_that_fit(rows: int, ranks: int, padded: bool) -> None:
    shares = shares_that_fit(range(201 - rows, 201), LENGTHS, ranks, 4096, padded)
    assert len(shares) % ranks == 0
    assert sorted(row for share in shares for row in share) == list(range(201 - rows, 201))
    assert max(tokens_of(share, LENGTHS, padded) for share in shares) <= 4096


def test_steps_hold_at_most_the_batch_and_are_shuffled_anew_each_epoch() -> None:
    first, second = (list(steps_of(100, 30, seed)) for seed in (1, 2))
    assert [len(rows) for rows in first] == [25, 25, 25, 25]
    assert sorted(row for rows in first for row in rows) == list(range(100))
    assert first == list(steps_of(100, 30, 1)) != second


@pytest.mark.parametrize(
    ("every", "batch", "saved"),
    [(250, 128, [256, 512, 768]), (100, 50, [100, 200, 300, 400, 500, 600, 700, 800]), (5000, 128, [])],
)
def test_each_time_that_as_many_samples_were_seen_one_checkpoint_is_saved(
    every: int, batch: int, saved: list[int]
) -> None:
    """From training 0.12 on the library saves where `samples_seen % save_samples == 0`."""
    number = Every(every)
    assert [seen for seen in range(batch, 900, batch) if seen % number == 0] == saved
    assert number > 0
    assert f"{number:d}" == str(every)


@pytest.mark.parametrize(("rows", "ranks"), [(11, 2), (3, 4), (0, 2), (201, 8)])
def test_ranks_without_flash_attention_get_as_many_micro_batches(
    rows: int, ranks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = ModuleType("sampler")
    monkeypatch.setitem(sys.modules, f"{trainer.LIBRARY}.sampler", sampler)
    packing.pack_in_step()
    shares = [sampler.batch_lengths_to_minibatches_padded(LENGTHS[:rows], 4096, ranks, rank) for rank in range(ranks)]
    assert len({len(mine) for mine in shares}) == 1
    assert sorted(row for mine in shares for one in mine for row in one if row >= 0) == list(range(rows))


def test_collectives_outlast_the_slowest_write_of_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch takes a group's limit from these two names, in every version from 2.6 to 2.15: for NCCL 10 minutes."""
    torch = ModuleType("distributed_c10d")
    monkeypatch.setitem(sys.modules, "torch.distributed.distributed_c10d", torch)
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(14_000 << 20)  # 7 billion parameters in bfloat16
    trainer.outlast_checkpoints(str(tmp_path))
    assert torch.default_pg_nccl_timeout == torch.default_pg_timeout == timedelta(seconds=3600 + 14_000)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"a": 1}, {"a": 1, "torch_dtype": "bfloat16"}),
        ({"torch_dtype": "float32"}, {"torch_dtype": "bfloat16"}),
        ({"dtype": "float32", "a": {"dtype": "x"}}, {"dtype": "bfloat16", "a": {"dtype": "x"}}),
        ({"dtype": None, "text_config": None}, {"dtype": "bfloat16", "text_config": None}),
        (
            {"torch_dtype": "float32", "text_config": {"dtype": "float32", "b": 1}},
            {"torch_dtype": "bfloat16", "text_config": {"dtype": "bfloat16", "b": 1}},
        ),
    ],
)
def test_config_names_the_type_of_the_weights(tmp_path: Path, before: dict, after: dict) -> None:
    """vLLM, without --dtype, serves what its config calls float32 in float16."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(before))
    name_type(path, "bfloat16")
    assert json.loads(path.read_text()) == after
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A folder with a copy of the program, and torch and the library as far as it reaches into them, on a T4."""
    library, torch = tmp_path / "instructlab" / "training", tmp_path / "torch"
    (torch / "distributed").mkdir(parents=True)
    library.mkdir(parents=True)
    (library / "multipack_sampler.py").write_text("class MultipackDistributedBatchSampler: pass\n")
    (library / "main_ds.py").write_text("import sys\nprint(sys.argv[1:], __name__)\n")
    (library / "utils.py").write_text("def supports_flash_attention():\n    return False\n")
    (torch / "distributed" / "distributed_c10d.py").touch()
    (torch / "cuda.py").write_text("def set_device(_): pass\ndef get_device_name(_):\n    return 'Tesla T4'\n")
    (torch / "__init__.py").touch()
    (tmp_path / "accelerate.py").write_text("class Accelerator:\n    def save_model(self): pass\n")
    (tmp_path / "training.json").write_text('{"dtype": "bfloat16", "other_dtypes": {}, "algorithm": "sft"}')
    for program in (trainer.TRAINER, packing.__file__, progress_server.__file__):
        shutil.copy(program, tmp_path)
    return tmp_path


def run(image: Path, *arguments: str) -> str:
    command = [sys.executable, str(image / "trainer.py"), *arguments]
    done = subprocess.run(command, env={"LOCAL_RANK": "0"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_program_needs_nothing_of_ours(image: Path) -> None:
    """Training pods have the training image's packages, and the run's volume."""
    arguments = [f"--model_name_or_path={image}", "--num_epochs=1", "--seed=1", "--disable_flash_attn"]
    assert run(image, *arguments) == f"{arguments} __main__\n"


@pytest.mark.parametrize("new", [False, True], ids=["0.10", "from 0.11"])
@pytest.mark.parametrize(
    ("supported", "package", "why"),
    [
        ("True", "", ""),
        ("False", "", "the library does not support it on Tesla T4"),
        ("True", None, "this image does not have it (No module named 'flash_attn')"),
        ("True", "raise ImportError('undefined symbol: _ZN3c10')", "does not have it (undefined symbol: _ZN3c10)"),
    ],
)
def test_a_gpu_or_image_without_flash_attention_trains_without_it(
    image: Path, new: bool, supported: str, package: str | None, why: str
) -> None:
    """The library raises, after the model was loaded: T4, V100, B200; it does not look into the image."""
    library = image / "instructlab" / "training"
    function = f"def supports_flash_attention():\n    return {supported}\n"
    (library / "utils.py").write_text("" if new else function)
    if new:
        text = f"{function}class Model:\n    supports_flash_attention = staticmethod(supports_flash_attention)\n"
        (library / "model.py").write_text(text)
    if package is not None:
        (image / "flash_attn.py").write_text(package)
    arguments = [f"--model_name_or_path={image}", "--num_epochs=1"]
    told = run(image, *arguments)
    assert why in told
    assert told.endswith(f"{arguments + ['--disable_flash_attn'] * bool(why)} __main__\n")
