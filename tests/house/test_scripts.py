"""What `make` does before anything of Bento runs: stepping down from root, the copy of a private checkout, sub-ids."""

import os
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

import as_user
import demo
import place
import setup
from bento.wire.home import Home

USER = as_user.User("bento", 1001, 1001, Path("/home/bento"))


def test_the_account_sees_nothing_of_roots_environment_but_the_harmless() -> None:
    roots = {
        "HOME": "/elsewhere",
        "PATH": "/elsewhere/bin",
        "SSH_AUTH_SOCK": "/run/agent",
        "PIP_INDEX_URL": "secret",
        "XDG_RUNTIME_DIR": "/run/user/0",
        "TERM": "xterm",
        "LC_ALL": "C",
        "BENTO_HOME": "/srv/bento",
        "http_proxy": "proxy",
    }

    seen = as_user.clean(roots, USER)

    assert {name: seen[name] for name in ("TERM", "LC_ALL", "BENTO_HOME", "http_proxy")}.items() <= roots.items()
    assert not {"SSH_AUTH_SOCK", "PIP_INDEX_URL"} & seen.keys()
    assert seen["HOME"] == "/home/bento"
    assert "elsewhere" not in seen["PATH"]
    assert seen.get("XDG_RUNTIME_DIR") != "/run/user/0"


def test_the_trees_own_tools_come_first_and_the_persons_options_stay() -> None:
    seen = as_user.settings({"PATH": "/usr/bin", "PYTEST_ADDOPTS": "-k 'a or b'"}, USER, Path("/srv/tree"))

    assert seen["PATH"].split(":")[:2] == ["/srv/tree/.venv/bin", "/usr/bin"]
    assert seen["PYTEST_ADDOPTS"].startswith("-k 'a or b' -o cache_dir=/home/bento/.cache/")


def test_a_tree_that_was_not_set_up_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(as_user.NotReady, match="make setup"):
        as_user.working_tree(tmp_path)


def test_commands_of_a_copied_tree_run_in_the_copy(tmp_path: Path) -> None:
    (tmp_path / "copy/.venv").mkdir(parents=True)
    (tmp_path / "checkout").mkdir()

    place.link(tmp_path / "checkout/.venv", tmp_path / "copy/.venv")

    assert as_user.working_tree(tmp_path / "checkout") == tmp_path / "copy"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    tree = tmp_path / "checkout"
    for name in ("Makefile", "src/bento/one.py", "src/bento/two/three.py"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    return tree


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    (tmp_path / "copy").mkdir()
    return tmp_path / "copy"


def test_a_copy_holds_the_tree_and_nothing_that_tools_made(checkout: Path, copy: Path) -> None:
    for made in (".git/config", ".venv/bin/python", "src/bento/__pycache__/one.pyc", "bench/results/start.json"):
        (checkout / made).parent.mkdir(parents=True)
        (checkout / made).touch()
    (checkout / "latest").symlink_to("src")

    place.bring_up_to_date(checkout, copy)

    found = {path.as_posix() for path in place.files_of(copy)}
    assert found == {"Makefile", "latest", "src/bento/one.py", "src/bento/two/three.py"}
    assert (copy / "latest").readlink() == Path("src")


def test_a_copy_can_be_read_whatever_the_checkout_allows(checkout: Path, copy: Path) -> None:
    (checkout / "Makefile").chmod(0o600)
    (checkout / "src/bento/one.py").chmod(0o700)

    place.bring_up_to_date(checkout, copy)

    assert (copy / "Makefile").stat().st_mode & 0o777 == 0o644
    assert (copy / "src/bento/one.py").stat().st_mode & 0o777 == 0o755


def test_a_second_copy_follows_every_change_and_touches_nothing_else(checkout: Path, copy: Path) -> None:
    place.bring_up_to_date(checkout, copy)
    untouched = (copy / "Makefile").stat().st_ino
    (copy / ".venv").mkdir()
    (checkout / "src/bento/one.py").unlink()
    (checkout / "src/bento/two/three.py").unlink()
    (checkout / "src/bento/two").rmdir()
    (checkout / "src/bento/two").write_text("a file where a folder was")
    (checkout / "new").write_text("new")

    place.bring_up_to_date(checkout, copy)

    found = {path.as_posix() for path in place.files_of(copy)}
    assert found == {"Makefile", "new", "src/bento/two"}
    assert (copy / "Makefile").stat().st_ino == untouched
    assert (copy / ".venv").is_dir()


def test_copies_of_vanished_checkouts_go(checkout: Path, tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    for name, origin in (("kept", checkout), ("gone", tmp_path / "no-such-checkout")):
        (copies / name).mkdir(parents=True)
        (copies / f"{name}.origin").write_text(f"{origin}\n")

    place.forget_orphans(copies)

    assert sorted(path.name for path in copies.iterdir()) == ["kept", "kept.origin"]


def test_a_command_starts_with_the_signals_that_a_shell_would_give_it(tree: Path) -> None:
    command = [sys.executable, "-B", str(tree / "scripts/as_user.py"), "grep", "SigIgn", "/proc/self/status"]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    ignored = int(done.stdout.split()[1], 16)
    assert not [number for number in as_user.IGNORED_BY_PYTHON if ignored & 1 << number - 1], done.stdout


def test_results_are_collected_but_never_through_a_link(checkout: Path, copy: Path, tmp_path: Path) -> None:
    (tmp_path / "private").write_text("private")
    (copy / place.RESULTS).mkdir(parents=True)
    (copy / ".venv").mkdir()
    place.link(checkout / ".venv", copy / ".venv")
    (copy / place.RESULTS / "start.json").write_text("{}")
    (copy / place.RESULTS / "stolen.json").symlink_to(tmp_path / "private")
    os.mkfifo(copy / place.RESULTS / "stuck.json")

    place.collect_results(checkout)

    assert [path.name for path in (checkout / place.RESULTS).iterdir()] == ["start.json"]


def test_sub_ids_too_few_or_of_others_do_not_count() -> None:
    assert setup.has_sub_ids("alice:100000:65536\nbento:165536:65536\n", "bento")
    assert not setup.has_sub_ids("alice:100000:65536\nbento:165536:10\n", "bento")
    assert not setup.has_sub_ids("", "bento")


def test_without_sudo_the_person_is_told_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(as_user.NotReady, match=r"there is no sudo here; as root, run: one --way && other"):
        setup.run_as_root(["one --way", "other"])


def test_bento_is_not_told_which_modules_to_load_by_where_it_is_called(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "bento").mkdir()
    launcher = tmp_path / "launcher"
    text = setup.launcher_text(Path("/srv")).replace("/srv/.venv/bin/python", sys.executable)
    launcher.write_text(text.replace("/srv/src", str(tree / "src")))
    (tmp_path / "bento/__init__.py").write_text("raise SystemExit('hijacked')")
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/", "PYTHONPATH": str(tmp_path)}

    done = subprocess.run(
        ["sh", str(launcher), "--version"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )

    assert "hijacked" not in done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize("beside", [False, True])
def test_what_the_person_wrote_outlives_the_demo(tmp_path: Path, beside: bool) -> None:
    """Beside the state, or, with BENTO_HOME, within."""
    data = tmp_path / "data"
    around = tmp_path if beside else data
    home = Home(*map(PurePosixPath, (data, around / "config", around / "run", around / "system")))
    written = [Path(home.policy) / "30-user.policy", Path(home.system) / "policy.d/10-all.policy"]
    state = [Path(home.data) / "bento.db", Path(home.data) / "domains/image", Path(home.manager_socket)]
    for path in (*written, *state):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    demo.remove_state(home)

    assert all(path.exists() for path in written)
    assert not [path for path in state if path.exists()]
