"""Plans and plan files."""

from collsched.plan.audit import PlanReport
from collsched.plan.container import is_plan
from collsched.plan.model import Plan

__all__ = ["Plan", "PlanReport", "is_plan"]
