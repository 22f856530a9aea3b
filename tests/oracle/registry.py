"""The table of commands that server.py answers."""

COMMANDS = {}


def command(function):
    COMMANDS[function.__name__] = function
    return function
