"""What of collsched works on this machine, and why the rest does not."""

from collsched.doctor.components import Component, components
from collsched.doctor.engines import EngineState, engine_states
from collsched.doctor.pairs import Pair, check_pairs

__all__ = ["Component", "EngineState", "Pair", "check_pairs", "components", "engine_states"]
