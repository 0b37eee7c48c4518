"""Sentences that the person is to read once, such as that this machine emulates. Told once per home."""

from pathlib import Path


class Notices:
    def __init__(self, told: Path) -> None:
        """`told` is a file that keeps what was handed out already, a line each."""
        self._told = told
        self._waiting: list[str] = []

    def add(self, sentence: str) -> None:
        if sentence not in self._known() and sentence not in self._waiting:
            self._waiting.append(sentence)

    def take(self) -> list[str]:
        """What waits to be told; whoever takes it tells it."""
        if not self._waiting:
            return []
        with open(self._told, "a") as file:
            file.writelines(f"{sentence}\n" for sentence in self._waiting)
        taken, self._waiting = self._waiting, []
        return taken

    def _known(self) -> list[str]:
        return self._told.read_text().splitlines() if self._told.exists() else []
