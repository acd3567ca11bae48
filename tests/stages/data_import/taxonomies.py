"""Leaves that are valid, and leaves that are wrong in one way: name to the text of qna.yaml, or its bytes."""

import re

from tests.archives import knowledge_leaf, skill_leaf

SKILL = skill_leaf().decode()
FIRST = "  - question: What is 0 plus 0?\n    answer: It is 0.\n"
KNOWLEDGE = knowledge_leaf("/documents", "main", "town.md").decode()


def _skill(old: str, new: str) -> str:
    assert old in SKILL
    return SKILL.replace(old, new, 1)


def _knowledge(old: str, new: str) -> str:
    assert old in KNOWLEDGE
    return KNOWLEDGE.replace(old, new, 1)


VALID_SKILLS: dict[str, str | bytes] = {
    "as it should be": SKILL,
    "version 2": _skill("version: 3", "version: 2"),
    "version 1 needs one example": "version: 1\ncreated_by: a\ntask_description: ''\n" + "seed_examples:\n" + FIRST,
    "no version is version 1": _skill("version: 3\n", ""),
    "version 1 has no style": _skill("version: 3", "version: 1  "),
    "Windows line breaks": SKILL.replace("\n", "\r\n"),
    "list not indented": SKILL.replace("  - question", "- question").replace("    answer", "  answer"),
    "other width": SKILL.replace("  - question", "    - question").replace("    answer", "      answer"),
    "flow": _skill(FIRST, "  - {question: a, answer: b}\n"),
    "spaces in flow": _skill(FIRST, "  - { question: a, answer: b }\n"),
    "block text": _skill("It is 0.", "|\n          It is\n            0.\n"),
    "folded text": _skill("It is 0.", ">-\n      It is\n      0."),
    "text over lines": _skill("It is 0.", '"It is\n\n      0."'),
    "anchor": _skill("It is 0.", "&x It is 0.").replace("It is 2.", "*x"),
    "comments and a long line": _skill("created_by: me", "# comment\ncreated_by: me #x" + "x" * 300),
    "context": SKILL.replace("    answer", "    context: Numbers.\n    answer"),
    "start and end of document": "---\n" + SKILL + "...\n",
    "two empty lines": _skill("created_by", "\n\ncreated_by"),
}
WRONG_SKILLS: dict[str, str | bytes] = {
    "space at the end": _skill("It is 0.", "It is 0. "),
    "space at the end in block text": _skill("It is 0.", "|\n      It is  \n      0."),
    "no last line break": SKILL[:-1],
    "empty lines at the end": SKILL + "\n",
    "empty line at the start": "\n" + SKILL,
    "three empty lines": _skill("created_by", "\n\n\ncreated_by"),
    "two spaces after the colon": _skill("version: 3", "version:  3"),
    "space before the colon": _skill("version: 3", "version : 3"),
    "spaces after the hyphen": _skill(FIRST, FIRST.replace("- ", "-   ").replace("    answer", "      answer")),
    "key twice": _skill("created_by: me", "created_by: me\ncreated_by: you"),
    "key twice in an example": _skill("It is 0.\n", "It is 0.\n    answer: 0\n"),
    "other indentation": _skill("It is 0.", "\n        It is 0.").replace("answer: \n", "answer:\n"),
    "indented": "  " + SKILL.replace("\n", "\n  ").rstrip(" "),
    "tab": _skill("    answer: It is 0.", "\tanswer: It is 0."),
    "unclosed": _skill("What is 0", "[What is 0"),
    "impossible date": _skill("It is 0.", "2020-13-45"),
    "unknown alias": _skill("It is 0.", "*nothing"),
    "two documents": SKILL + "---\na: 1\n",
    "not UTF-8": _skill("It is 0.", "Grün.").encode("latin-1"),
    "empty": "",
    "a list": "- a\n- b\n",
    "text": "../../token\n",
    "version 99": _skill("version: 3", "version: 99"),
    "version in quotes": _skill("version: 3", "version: '3'"),
    "version a list": _skill("version: 3", "version: [3]"),
    "no answer": _skill("    answer: It is 0.\n", ""),
    "answer yes": _skill("It is 0.", "yes"),
    "answer 12": _skill("It is 0.", "12"),
    "answer without text": _skill(" It is 0.", ""),
    "answer empty": _skill("It is 0.", "''"),
    "answer a list": _skill("It is 0.", "[a, b]"),
    "unknown key": _skill("created_by: me", "author: me\ncreated_by: me"),
    "unknown key in an example": _skill("It is 0.\n", "It is 0.\n    note: x\n"),
    "four examples": skill_leaf(4).decode(),
    "example twice": _skill("What is 1 plus 1?\n    answer: It is 2.", "What is 0 plus 0?\n    answer: It is 0."),
    "no examples": SKILL.split("seed_examples")[0],
    "examples a mapping": SKILL.split("seed_examples")[0] + "seed_examples:\n  a: b\n",
    "examples text": SKILL.split("seed_examples")[0] + "seed_examples:\n" + "".join(f"  - {i}x\n" for i in range(5)),
}
VALID_KNOWLEDGE: dict[str, str | bytes] = {
    "as it should be": KNOWLEDGE,
    "other keys beside question and answer": _knowledge("        answer", "        note: x\n        answer"),
}
WRONG_KNOWLEDGE: dict[str, str | bytes] = {
    "version 2": _knowledge("version: 3", "version: 2"),
    "no document": KNOWLEDGE.split("document:")[0],
    "no domain": _knowledge("domain: towns\n", ""),
    "patterns text": KNOWLEDGE.split("  patterns:")[0] + "  patterns: '*.md'\n",
    "no patterns": KNOWLEDGE.split("  patterns:")[0] + "  patterns: []\n",
    "pattern twice": KNOWLEDGE.split("  patterns:")[0] + "  patterns: [a, a]\n",
    "commit a number": re.sub("commit: .*", "commit: 1234567", KNOWLEDGE),
    "two questions": re.sub(r"      - question: How low is tower 0.*\n.*\n", "", KNOWLEDGE),
    "document text": KNOWLEDGE.split("document:")[0] + "document: town.md\n",
    "unknown key of document": _knowledge("  commit:", "  branch: main\n  commit:"),
}
BY_KIND = {
    "compositional_skills": (VALID_SKILLS, WRONG_SKILLS),
    "knowledge": (VALID_KNOWLEDGE, WRONG_KNOWLEDGE),
}
