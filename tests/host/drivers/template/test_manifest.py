"""The manifest: what a finished template says of itself, and what is no template at all."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.host.drivers.template.manifest import File, Manifest, decode_manifest, image_digest
from bento.host.model.errors import Unavailable

MANIFEST = Manifest(
    distribution="debian-12",
    flavor="minimal",
    release="12.13",
    kernel_version="6.1.0-56-cloud-amd64",
    cmdline="quiet",
    created=1,
    files={"kernel": File("ab" * 32, 3), "root.erofs": File("cd" * 32, 4096)},
    packages={"bash": "5.2.15-2+b13"},
)


def test_a_manifest_survives_being_written() -> None:
    assert decode_manifest(MANIFEST.encode()) == MANIFEST


def test_the_time_of_a_build_is_no_part_of_its_digest() -> None:
    assert replace(MANIFEST, created=2).digest == MANIFEST.digest


def test_every_file_is_part_of_the_digest() -> None:
    for name in MANIFEST.files:
        assert image_digest({**MANIFEST.files, name: File("00" * 32, 1)}) != MANIFEST.digest


def test_a_manifest_whose_files_were_exchanged_is_refused() -> None:
    fields = json.loads(MANIFEST.encode())
    fields["files"]["kernel"]["digest"] = "00" * 32
    with pytest.raises(Unavailable, match="digests differ"):
        decode_manifest(json.dumps(fields))


def test_a_manifest_of_another_format_asks_for_a_new_build() -> None:
    with pytest.raises(Unavailable, match="build the template again"):
        decode_manifest(MANIFEST.encode().replace('"format": 1', '"format": 2'))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["format", "files", "x"]), inner),
)


@given(st.text(max_size=40) | json_values.map(json.dumps))
def test_what_is_no_manifest_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(Unavailable):
        decode_manifest(text)
