"""Single-path flow splitting: which flow takes which path, and which few flows are cut, on fabrics where a flow keeps
one path. `planner.plan_flows` plans, `check.check_routing` judges, `replan.replan` mends after a failure."""
