"""Which of a machine's apt sources a template may be filled from."""

import pytest

from bento.host.drivers.template.flavors import DISTRIBUTIONS
from bento.host.drivers.template.sources import Source, carried_settings, choose_sources
from bento.host.model.errors import Unavailable

DEBIAN_12 = DISTRIBUTIONS["debian-12"]

STOCK = """# the image's own
Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb deb-src
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
MAIN = Source("http://mirror.example/debian", "bookworm", ("main",))


def choose(**files: str) -> list[Source]:
    return choose_sources({name.replace("_", "."): text for name, text in files.items()}, DEBIAN_12)


def test_the_distributions_own_entries_are_taken_in_both_styles() -> None:
    options = "[arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    assert choose(a_list=f"deb {options} http://mirror.example/debian bookworm main # x\n") == [MAIN]
    assert choose(debian_sources=STOCK) == [
        MAIN,
        Source("http://mirror.example/debian", "bookworm-updates", ("main",)),
        Source("http://mirror.example/debian-security", "bookworm-security", ("main", "contrib")),
    ]


@pytest.mark.parametrize(
    "stranger",
    [
        "deb https://packages.example.org/apt cloud-sdk-bookworm main",
        "deb https://apt.example.org bookworm main",
        "deb [signed-by=/usr/share/keyrings/example.gpg] https://apt.example.org/debian bookworm main",
        "deb https://download.example.org/linux/debian bookworm stable",
        "deb http://mirror.example/debian trixie main",
        "deb http://mirror.example/debian bookworm-backports main",
        "deb-src http://mirror.example/debian bookworm main",
        "# deb http://mirror.example/debian bookworm main",
    ],
)
def test_a_third_partys_entry_fills_no_template(stranger: str) -> None:
    assert choose(a_list=f"deb http://mirror.example/debian bookworm main\n{stranger}\n") == [MAIN]


def test_an_entry_with_a_key_in_place_is_a_strangers() -> None:
    stranger = STOCK.replace(
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg",
        "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n -----END PGP PUBLIC KEY BLOCK-----",
    )
    with pytest.raises(Unavailable, match="no bookworm archive"):
        choose(stranger_sources=stranger)


def test_a_disabled_entry_does_not_count() -> None:
    with pytest.raises(Unavailable, match="this machine's apt sources"):
        choose(debian_sources=STOCK.replace("Types:", "Enabled: no\nTypes:"))


def test_an_entry_that_stands_twice_is_asked_once() -> None:
    assert choose(a_list="deb http://mirror.example/debian bookworm main\n", b_sources=STOCK)[0] == MAIN
    assert len(choose(a_list="deb http://mirror.example/debian bookworm main\n", b_sources=STOCK)) == 3


def test_updates_alone_make_no_distribution() -> None:
    with pytest.raises(Unavailable):
        choose(a_list="deb http://mirror.example/debian bookworm-updates main\n")


def test_a_mirror_that_a_person_names_may_have_any_address() -> None:
    line = "deb http://mirror.example.org/d12 bookworm main\n"
    assert choose_sources({"/home/x/debian-12.list": line}, DEBIAN_12, named=True) == [
        Source("http://mirror.example.org/d12", "bookworm", ("main",))
    ]
    with pytest.raises(Unavailable, match=r"in /home/x/debian-12\.list"):
        choose_sources({"/home/x/debian-12.list": "nonsense\n"}, DEBIAN_12, named=True)


def test_only_what_reaching_a_mirror_takes_is_carried_over() -> None:
    dump = """Acquire "";
Acquire::http "";
Acquire::http::Proxy "http://proxy.example.org:3128";
Acquire::https::CaInfo "/etc/ssl/own.pem";
Acquire::Check-Valid-Until "false";
Acquire::IndexTargets::deb::Packages::MetaKey "x";
Acquire::Languages "de";
APT::Install-Recommends "true";
DPkg::Post-Invoke:: "rm -f /var/cache/apt/archives/*.deb";
"""
    assert carried_settings(dump) == [
        'Acquire::http::Proxy "http://proxy.example.org:3128";',
        'Acquire::https::CaInfo "/etc/ssl/own.pem";',
        'Acquire::Check-Valid-Until "false";',
    ]
