"""The `inferd` command: one module a verb, imported only when it is called, so that `inferd --help` stays quick.

Exit codes are those of inferd/cli/exit_codes.py. An error that inferd raises on purpose is one line on stderr, never a traceback; nor is
Ctrl-C one, whenever it comes.
"""

from __future__ import annotations

import sys

INTERRUPTED = 130  # ExitCode.INTERRUPTED, before anything is imported

try:
    import signal

    if sys.argv[1:2] == ["serve"]:
        # They would end it, and process 1 would never hear of them: from here on they wait in the kernel (serving/processes/process.py)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1})
    import gc
    import os
    from contextlib import suppress
    from traceback import walk_tb
    from typing import TYPE_CHECKING, NoReturn

    import click

    from inferd.cli.exit_codes import ExitCode
    from inferd.cli.say import colours, complain, one_line, say
    from inferd.cli.verbs import program  # which makes texts and options, and that takes longest
    from inferd.errors import ConfigError, InferdError, StartError
except KeyboardInterrupt:  # that takes a while
    sys.exit(INTERRUPTED)

# Else grpc writes lines of its own before our error, for each handshake that fails. It looks when it is imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    try:
        open_standard_descriptors()
        code = run(args)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing is left to be ended but the interpreter, which would say how
    except KeyboardInterrupt:
        code = INTERRUPTED
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
    except OSError:  # a terminal that has gone: what could not be said to it is not to change the exit code to 120
        silence(sys.stderr)
    gc.freeze()  # the interpreter's end frees all modules, and looks for garbage among them several times
    sys.exit(code)


def open_standard_descriptors() -> None:
    """Open /dev/null on each of descriptors 0, 1 and 2 that is closed: no socket or file may come to be stdout or stderr.

    A library would write into it, and libuv aborts when it is to close a descriptor below 3.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def run(args: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code. Verbs return theirs, None stands for 0."""
    color = colours()
    try:
        code = program.main(args, prog_name="inferd", standalone_mode=False, color=color)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True, color=color)
        return error.exit_code
    except click.ClickException as error:
        complain(error.format_message())
        if isinstance(error, click.UsageError) and error.ctx is not None:
            say(f"Try `{error.ctx.command_path} --help`.", err=True)
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    except SystemExit as error:  # click's own end, such as after a broken pipe
        return error.code if isinstance(error.code, int) else ExitCode.FAILED
    except InferdError as error:
        said = str(error)
        complain(said if isinstance(error, (ConfigError, StartError)) else one_line(said))  # these are our own words, often a list
        return exit_code(error)
    except OSError as error:
        if not raised_by_echo(error):
            raise
        silence(sys.stdout)
        with suppress(OSError):  # stderr neither: a terminal that has gone
            click.echo(f"inferd: stdout cannot be written: {error.strerror}", err=True)
        return ExitCode.FAILED
    return int(code or 0)


def exit_code(error: InferdError) -> ExitCode:
    return ExitCode.USAGE if isinstance(error, ConfigError) else ExitCode.UNABLE if isinstance(error, StartError) else ExitCode.FAILED


def raised_by_echo(error: OSError) -> bool:
    """Whether it was printing that failed, a disk being full say. Not asked of stdout itself: unbuffered, it has forgotten."""
    *_, (frame, _) = walk_tb(error.__traceback__)
    return frame.f_globals.get("__name__") == "click.utils"


def silence(stream: TextIO | None) -> None:
    """Point stdout or stderr at nothing: nobody can read it, and the interpreter's last flush must not fail."""
    if stream is not None and not stream.closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
