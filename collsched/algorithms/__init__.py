"""Known algorithms as forests on any topology: what plans are chosen from, and measured against.

Each is a set of trees, so the same lowering, passes, verifier and simulator serve them and the compiled plans.
"""

from collsched.algorithms.catalogue import Baseline, Candidate, baselines, candidates

__all__ = ["Baseline", "Candidate", "baselines", "candidates"]
