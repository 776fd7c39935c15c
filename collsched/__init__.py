"""collsched: a compiler of collective communication schedules.

    topo = collsched.load_topology("topo.yaml")
    plan = collsched.compile(topo, "allreduce")
    comm = collsched.connect(plan)
    comm.allreduce(x)

Names load when first used, so that `import collsched` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collsched.collective import Collective as Collective
    from collsched.collective import Kind as Kind
    from collsched.compiler import compile as compile
    from collsched.errors import CollschedError as CollschedError
    from collsched.errors import EngineError as EngineError
    from collsched.errors import InputError as InputError
    from collsched.errors import MissingComponentError as MissingComponentError
    from collsched.errors import PlanError as PlanError
    from collsched.errors import TopologyError as TopologyError
    from collsched.errors import UnreachableError as UnreachableError
    from collsched.errors import VerificationError as VerificationError
    from collsched.plan import Plan as Plan
    from collsched.runtime import connect as connect
    from collsched.runtime.communicator import Communicator as Communicator
    from collsched.topology import bundled as bundled
    from collsched.topology import from_networkx as from_networkx
    from collsched.topology import load_topology as load_topology
    from collsched.topology import to_networkx as to_networkx
    from collsched.topology.model import Link as Link
    from collsched.topology.model import Node as Node
    from collsched.topology.model import Topology as Topology

__version__ = "0.1.0"

# In a checkout, where this directory hides the installed package, its native modules are found all the same.
__path__ = extend_path(__path__, __name__)

_HOME = {
    "Collective": "collsched.collective",
    "CollschedError": "collsched.errors",
    "Communicator": "collsched.runtime.communicator",
    "EngineError": "collsched.errors",
    "InputError": "collsched.errors",
    "Kind": "collsched.collective",
    "Link": "collsched.topology.model",
    "MissingComponentError": "collsched.errors",
    "Node": "collsched.topology.model",
    "Plan": "collsched.plan",
    "PlanError": "collsched.errors",
    "Topology": "collsched.topology.model",
    "TopologyError": "collsched.errors",
    "UnreachableError": "collsched.errors",
    "VerificationError": "collsched.errors",
    "bundled": "collsched.topology",
    "compile": "collsched.compiler",
    "connect": "collsched.runtime",
    "from_networkx": "collsched.topology",
    "load_topology": "collsched.topology",
    "to_networkx": "collsched.topology",
}

__all__ = [
    "Collective",
    "CollschedError",
    "Communicator",
    "EngineError",
    "InputError",
    "Kind",
    "Link",
    "MissingComponentError",
    "Node",
    "Plan",
    "PlanError",
    "Topology",
    "TopologyError",
    "UnreachableError",
    "VerificationError",
    "__version__",
    "bundled",
    "compile",
    "connect",
    "from_networkx",
    "load_topology",
    "to_networkx",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'collsched' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__
