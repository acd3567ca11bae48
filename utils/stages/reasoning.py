"""What a model says after it has reasoned: some servers leave its reasoning in the text."""

import re

_TAG = r"(?:\w+:)?(?:think(?:ing)?|thoughts?|reasoning)"
_ENDS = re.compile(rf"</{_TAG}>|\[/THINK\]|◁/think▷|final<\|message\|>", re.I)
_BEGINS = re.compile(rf"<{_TAG}>|\[THINK\]|◁think▷|(?:<\|channel\|>)?analysis<\|message\|>", re.I)


def without_reasoning(text: str) -> str:
    """The text after the last end of reasoning, and before reasoning that was cut off.

    The marks are those of DeepSeek-R1, Qwen3 and most others; Seed-OSS (with a prefix); EXAONE Deep; Magistral;
    Kimi-VL; and gpt-oss. The first mark may be missing: some chat templates put it into the prompt.
    """
    return _BEGINS.split(_ENDS.split(text)[-1])[0].strip()
