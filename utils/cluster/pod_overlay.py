"""A pod template changed by an overlay: what a cluster requires of every pod (pull secrets, queue labels, proxies)."""

from typing import Any


def merge_overlay(template: Any, overlay: Any) -> Any:
    """The pod template with the overlay merged in; neither is changed.

    Dicts are merged key by key. In lists, items with the same mountPath, else the same name, are merged, and an item
    named `*` is merged into every existing item; other items are appended unless they exist. Otherwise the overlay
    takes precedence.
    """
    if isinstance(overlay, dict):
        old = template if isinstance(template, dict) else {}
        return {**old, **{key: merge_overlay(old.get(key), value) for key, value in overlay.items()}}
    if not isinstance(overlay, list):
        return overlay

    def identity(item: Any) -> Any:
        return item.get("mountPath") or item.get("name") or item if isinstance(item, dict) else item

    merged = list(template or [])
    for item in overlay:
        every = isinstance(item, dict) and item.get("name") == "*"
        change = {key: value for key, value in item.items() if key != "name"} if every else item
        same = [n for n, old in enumerate(merged) if every or identity(old) == identity(item)]
        for n in same:
            merged[n] = merge_overlay(merged[n], change)
        if not same and not every:
            merged.append(merge_overlay(None, item))
    return merged
