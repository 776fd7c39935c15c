"""Plans and plan files."""

from collsched.plan.audit import PlanReport
from collsched.plan.container import check_target, is_plan
from collsched.plan.model import Plan

__all__ = ["Plan", "PlanReport", "check_target", "is_plan"]
