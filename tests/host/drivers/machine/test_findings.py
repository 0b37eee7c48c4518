"""The form in which findings leave: stable fields, in a fixed order."""

import json

import pytest

from bento.host.drivers.machine.findings import Finding, Status, as_json, size


def test_each_finding_has_the_same_fields_in_the_same_order() -> None:
    findings = [
        Finding("a", Status.OK, {"n": 1}, "All is well."),
        Finding("b", Status.MISSING, {"names": ("x", "y"), "path": None}, "It is not.", "do this"),
    ]
    assert json.dumps(as_json(findings)) == (
        '[{"key": "a", "status": "ok", "value": {"n": 1}, "sentence": "All is well.", "remedy": null}, '
        '{"key": "b", "status": "missing", "value": {"names": ["x", "y"], "path": null}, '
        '"sentence": "It is not.", "remedy": "do this"}]'
    )


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 MiB"),
        (512 << 20, "512 MiB"),
        ((1 << 30) - 1, "1023 MiB"),
        (1 << 30, "1.0 GiB"),
        (25_325_273_088, "23.6 GiB"),
    ],
)
def test_sizes_are_told_in_mib_and_gib(count: int, text: str) -> None:
    assert size(count) == text
