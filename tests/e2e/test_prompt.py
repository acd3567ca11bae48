"""What an SDG pipeline's YAML says is trusted only as far as its keys need."""

from tests.e2e.stages import in_stages


def test_prompts_of_an_sdg_pipeline_are_rendered_in_a_sandbox() -> None:
    told = in_stages("tests/e2e/run_prompt.py")
    assert told == "access to attribute '__init__' of 'type' object is unsafe.; Red?"
