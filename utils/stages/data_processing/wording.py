"""What a sample's own words tell: refusals, leftovers of templates, answers in another script."""

import functools
import itertools
import re
import unicodedata
from collections import Counter

_FIELD = r"(?:seed|icl)_\w+|document(?:_outline)?|domain|task_description|question|response|context"
_TAG = r"(?:(?:Start|End) (?:of )?)?(?:Question|Answer|Context|Response)|End|START|END|QUESTION|ANSWER"
LEFT_OVER = re.compile(
    rf"\{{\{{\s*(?:{_FIELD})\s*\}}\}}|(?<!\w)\[(?:{_TAG})\]|<\|[\w-]{{2,40}}\|>|\[/?INST\]|<</?SYS>>|</?think>"
)
"""What is left of a prompt (the fields and tags of instructlab-sdg 0.8), of a chat template, of reasoning."""

_I_CAN_NOT = r"(?:i|we)(?: can ?not| can't| am unable to| will not| won't)|(?:i'm|we're|i am) (?:not able|unable) to"
_THIS = r"(?:that|this|these|those|the requested|such|any|explicit|you with|an answer|a response)\b"
_DO_THIS = (
    rf"(?:assist|comply|fulfill?)\b|help (?:you|with)\b|(?:answer|provide|complete|generate|create|write) {_THIS}"
)
_SORRY = r"(?:sorry|(?:i'm|i am|we're) (?:very |so |truly )?(?:sorry|afraid)|i apologi[sz]e|my apologies|unfortunately)"
_AS_AN_AI = r"as an? (?:ai|(?:ai |large )?language model|(?:ai|virtual) assistant|artificial intelligence),? i\b"
REFUSAL = re.compile(rf'[\s*_>]*(?:{_SORRY}[^.!?"]{{0,25}}?[\s,])?(?:(?:{_I_CAN_NOT}) (?:{_DO_THIS})|{_AS_AN_AI})')
"""How an answer of a model begins that does not answer, in English and in small letters. Only the beginning counts."""

SCRIPTS = {"HIRAGANA": "CJK", "KATAKANA": "CJK", "KATAKANA-HIRAGANA": "CJK", "IDEOGRAPHIC": "CJK", "BOPOMOFO": "CJK"}
"""Unicode's names of scripts that one language mixes."""


def left_over(text: str, allowed: str = "") -> str:
    """The first leftover of a template in a text, "" for none. Reasoning that begins and ends is left to the user.

    Args:
        allowed: a text whose marks do not count as leftovers.
    """
    reasoning = text.count("<think>") == text.count("</think>")
    found = (match[0] for match in LEFT_OVER.finditer(text) if not (reasoning and match[0].endswith("think>")))
    return next((mark for mark in found if mark not in allowed), "")


def refusal(answer: str) -> str:
    """The beginning of an answer that refuses, "" for any other."""
    found = REFUSAL.match(answer[:300].replace("’", "'").casefold())
    return found[0].strip() if found else ""


def letters(text: str, most: int) -> int:
    """Letters, digits and symbols of a text, which say something; no more are counted than asked for."""
    return sum(1 for _ in itertools.islice((c for c in text if unicodedata.category(c)[0] in "LNS"), most))


@functools.cache
def script_of(character: str) -> str:
    """The script of a letter: LATIN, CYRILLIC, CJK, …; "" for anything but a letter."""
    if unicodedata.category(character)[0] != "L":
        return ""
    name = unicodedata.name(character, "").partition(" ")[0]
    return SCRIPTS.get(name, name)


def scripts(text: str) -> Counter[str]:
    """Number of letters by script; of letters in another form, such as full width, their plain one counts."""
    counted = Counter(map(script_of, unicodedata.normalize("NFKC", text)))
    del counted[""]
    return counted


def foreign_share(text: str, usual: Counter[str]) -> float:
    """The share of a text's letters, 0 to 1, that are in scripts of which the usual ones have no letter."""
    found = scripts(text)
    return sum(number for script, number in found.items() if script not in usual) / (found.total() or 1)
