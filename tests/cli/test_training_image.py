"""Before a run on a cluster begins, the user is told of training tasks whose image has no torch."""

import pytest

from utils.cli.training_image import tell_training_image
from utils.files import COMPILED
from utils.image_choice import with_images
from utils.ir.load import load

OTHER = "example.org/training@sha256:" + "0" * 64
KNOWLEDGE, SKILLS = f"train-knowledge={OTHER}", f"train-skills={OTHER}"


@pytest.mark.parametrize(
    ("launcher", "images", "told"),
    [
        ("process", [], ["train-knowledge and train-skills", "--image train-knowledge=REF --image train-skills=REF"]),
        ("process", [KNOWLEDGE], ["the image of train-skills", "  --image train-skills=REF"]),
        ("process", [KNOWLEDGE, SKILLS], []),
        ("process", [f"notebook={OTHER}"], []),
        ("auto", [], []),
        ("trainjob", [], []),
    ],
)
def test_training_in_a_task_needs_an_image_with_torch(
    capsys: pytest.CaptureFixture[str], launcher: str, images: list[str], told: list[str]
) -> None:
    pipeline = with_images(load(COMPILED), images, print)
    tell_training_image(pipeline, {"train_launcher": launcher})
    said = capsys.readouterr().err
    assert bool(said) == bool(told)
    for part in told:
        assert part in said
