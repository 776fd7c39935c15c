"""Plans and plan files."""

from collsched.plan.audit import PlanReport
from collsched.plan.model import Plan

__all__ = ["Plan", "PlanReport"]
