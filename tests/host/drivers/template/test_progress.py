"""How far a build has come, from the words of mmdebstrap, apt and dpkg."""

from hypothesis import given
from hypothesis import strategies as st

from bento.host.drivers.template.progress import ARRANGING, DONE, PACKING, STAGES, Meter

OUTPUT = """I: automatically chosen format: directory
I: running apt-get update...
Get:1 http://mirror.example/debian bookworm InRelease [151 kB]
I: downloading packages with apt...
0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.
Get:1 http://mirror.example/debian bookworm/main amd64 libc6 amd64 2.36 [2759 kB]
Get:2 http://mirror.example/debian bookworm/main amd64 bash amd64 5.2 [1491 kB]
I: extracting archives...
I: installing essential packages...
Unpacking libc6:amd64 (2.36) ...
Setting up libc6:amd64 (2.36) ...
Unpacking bash (5.2) ...
Setting up bash (5.2) ...
I: installing remaining packages inside the chroot...
0 upgraded, 1 newly installed, 0 to remove and 0 not upgraded.
Get:1 http://mirror.example/debian bookworm/main amd64 python3 amd64 3.11 [26 kB]
Unpacking python3 (3.11) ...
Setting up python3 (3.11) ...
I: cleaning package lists and apt cache...
""".splitlines()


def test_a_build_passes_every_stage_and_never_goes_back() -> None:
    meter = Meter()
    news = [answer for line in OUTPUT if (answer := meter.read(line))]
    fractions = [fraction for _, fraction in news]
    assert fractions == sorted(fractions)
    assert list(dict.fromkeys(phase for phase, _ in news)) == list(
        dict.fromkeys(phase for phase, _, _ in STAGES.values())
    )
    assert fractions[-1] <= ARRANGING[1] <= PACKING[1] <= DONE[1] == 1.0


def test_a_stage_ends_where_the_next_begins() -> None:
    meter = Meter()
    news = {line: answer for line in OUTPUT if (answer := meter.read(line))}
    assert news["Get:2 http://mirror.example/debian bookworm/main amd64 bash amd64 5.2 [1491 kB]"][1] == 0.20
    assert news["Setting up bash (5.2) ..."][1] == 0.48
    assert round(news["Setting up python3 (3.11) ..."][1], 6) == 0.80


@given(st.lists(st.sampled_from(OUTPUT) | st.text(max_size=30), max_size=60))
def test_no_output_whatever_leads_out_of_the_whole_or_back(lines: list[str]) -> None:
    meter = Meter()
    fractions = [answer[1] for line in lines if (answer := meter.read(line))]
    assert fractions == sorted(fractions)
    assert all(0.0 <= fraction <= 1.0 for fraction in fractions)
