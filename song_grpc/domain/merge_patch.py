"""JSON Merge Patch, RFC 7396."""

from typing import Any


def merge(target: Any, patch: Any) -> Any:  # noqa: ANN401 - any JSON values
    """Return the target with the patch applied; neither is changed.

    Members of an object in the patch replace those of the target, null removes them, objects are merged;
    a patch that is no object replaces the target whole.
    """
    if not isinstance(patch, dict):
        return patch
    merged: dict[str, Any] = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged
