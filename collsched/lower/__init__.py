"""From a forest to a schedule, and from a schedule to what each rank executes."""

from collsched.lower.forests import lower
from collsched.lower.programs import program, programs

__all__ = ["lower", "program", "programs"]
