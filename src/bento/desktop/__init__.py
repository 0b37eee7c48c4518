"""The window that asks the person: `bento agent --desktop`. Draws, and passes on an answer; decides nothing.

A process of its own, since it loads a large library that nobody else needs
(PySide6, X11 and Wayland). It knows the wire only; what it shows of a guest is
parsed names and an argument of plain letters, and none of it is ever markup.

    prompt.py    one question, and when it may be answered: no Qt, a clock from outside
    dialog.py    the window
    notices.py   a few lines in a corner, for what the person wants to be told
    line.py      the manager's socket
    desk.py      all of these together
"""

OUTSIDE = 4
"""The exit code of `bento` for what is not Bento's to mend (docs/cli.md)."""
