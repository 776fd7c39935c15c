"""The exceptions that collsched raises.

CollschedError
├── InputError            the input is wrong; exit code 2
│   ├── TopologyError     a topology file or object
│   ├── UnreachableError  ranks of the group cannot reach each other; carries a witness
│   └── PlanError         a plan file: corrupted, edited, of another version
├── VerificationError     a plan does not do what it promises; exit code 1
├── MissingComponentError an optional library or device is absent; exit code 3
└── EngineError           an execution failed: a dead peer, a full /dev/shm, wrong results
"""

from __future__ import annotations


class CollschedError(Exception):
    """Base of every error raised on purpose; its text is meant for the user."""

    exit_code = 1


class InputError(CollschedError):
    """Input that cannot be used. The text names the place, what was found, what is allowed and how to mend it."""

    exit_code = 2


class TopologyError(InputError):
    """A topology that is not well formed."""


class UnreachableError(InputError):
    """Some rank of the group cannot be reached by the data it must receive."""


class PlanError(InputError):
    """A plan file that cannot be trusted or read."""


class VerificationError(CollschedError):
    """A plan breaks a rule; the text names the rule and a witness."""


class MissingComponentError(CollschedError):
    """A component that this call needs is not installed or not present."""

    exit_code = 3


class EngineError(CollschedError):
    """An engine could not finish an execution."""
