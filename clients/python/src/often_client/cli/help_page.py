"""The list of commands, and the text of `often --help`.

It imports nothing slow, so that the help appears at once.
"""

import os
import sys

#: Maps sections of the help to commands, and each command to its (module:function, summary). A test
#: checks that the summaries equal those of the commands.
SECTIONS = {
    "Submit and follow tasks": {
        "submit": ("submit:submit", "Submit a task and print its id."),
        "wait": ("submit:wait", "Wait for the end of tasks and print them."),
        "task": ("tasks:task", "Show a task, or follow it until it ends."),
        "tasks": ("tasks:tasks", "List tasks, newest first, or follow them."),
    },
    "Steer tasks and workflows": {
        "cancel": ("acts:cancel", "Cancel tasks."),
        "retry": ("acts:retry", "Run failed or canceled tasks again, with changes if you like."),
        "run-now": ("acts:run_now", "Start delayed tasks and retries now."),
        "release": ("acts:release", "Release tasks from a crash loop."),
        "bulk": ("bulk:bulk", "Retry, cancel or change all tasks that match a filter."),
        "workflow": ("workflows:workflow", "Show, follow, cancel or retry a workflow."),
    },
    "Operate queues, workers and schedules": {
        "pause": ("queues:pause", "Pause a queue: its tasks wait until you resume it."),
        "resume": ("queues:resume", "Resume a queue: its tasks start again."),
        "purge": ("queues:purge", "Cancel all waiting tasks of a queue."),
        "quiet": ("workers:quiet", "Ask workers to take no new tasks, but to go on running."),
        "drain": ("workers:drain", "Ask workers to finish their running tasks and then to end."),
        "recycle": ("workers:recycle", "Ask workers to finish their running tasks and then to restart."),
        "schedule": ("schedules:schedule", "Show, run, pause, resume or backfill a schedule."),
    },
    "Look into the system": {
        "status": ("status:status", "Show what is wrong now, rates, queues and workers."),
        "top": ("top:top", "Watch queues, workers and running tasks live."),
        "queues": ("queues:queues", "List queues with their waiting tasks."),
        "workers": ("workers:workers", "List workers with their running tasks."),
        "stack": ("workers:stack", "Show the present stacks of a running body."),
        "schedules": ("schedules:schedules", "List schedules by name."),
        "workflows": ("workflows:workflows", "List workflows, newest first."),
        "errors": ("errors:errors", "List errors by cause, last seen first."),
        "error": ("errors:error", "Show an error, or acknowledge, mute, resolve or reopen it."),
        "reproduce": ("reproduce:reproduce", "Run the body of a past task on this machine."),
        "audit": ("audit:audit", "List who did what, newest first."),
    },
    "Set up": {
        "login": ("login:login", "Create an API key and store it for later commands."),
        "logout": ("login:logout", "Delete the stored API key."),
        "doctor": ("doctor:doctor", "Check access, servers, clock, workers and queues."),
        "completion": ("completion:completion", "Print a script that completes commands in a shell."),
    },
}

HEAD = """\
Usage: often [OPTIONS] COMMAND [ARGUMENTS]

See and operate tasks of Often Tasks. `often COMMAND --help` shows the options of a command.
"""
TAIL = """
--api URL        address of the API (OFTEN_API; by default that of `often login`)
--profile NAME   login to use, if you have several (OFTEN_PROFILE)
--ca-file FILE   certificates to trust, instead of the well-known ones (OFTEN_CA_FILE)
--proxy URL      proxy to use (OFTEN_PROXY)
--version        show the version

Lists are tables on a terminal and tab-separated values elsewhere. --json prints one object per line.
Exit codes: 0 success, 1 something is wrong, 2 usage, 3 refused, 4 not found, 5 no answer.
"""
#: Width of the column with the command names in `often --help`.
WIDTH = 12


def text() -> str:
    """The whole text of `often --help`."""
    sections = "".join(_section(name, commands) for name, commands in SECTIONS.items())
    return f"{HEAD}{sections}{TAIL}"


def place_of(command: str) -> str | None:
    """The module and the function that implement a command, as "module:function"; None if there is
    no such command.
    """
    for commands in SECTIONS.values():
        if command in commands:
            return commands[command][0]
    return None


def _section(name: str, commands: dict[str, tuple[str, str]]) -> str:
    lines = "".join(f"  {command:<{WIDTH}} {summary}\n" for command, (_, summary) in commands.items())
    return f"\n{_bold(name)}\n{lines}"


def _bold(words: str) -> str:
    return f"\033[1m{words}\033[0m" if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else words
