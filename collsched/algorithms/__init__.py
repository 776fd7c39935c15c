"""The algorithms that libraries choose from, as forests on any topology: what plans are measured against.

Each is a set of trees, so the same lowering, passes, verifier and simulator serve them and the compiled plans.
"""

from collsched.algorithms.catalogue import Baseline, baselines

__all__ = ["Baseline", "baselines"]
