"""Pictures of fabrics and plans: what is to be drawn (structure, layout, trees, traffic, journeys) is computed apart
from who draws it (the page, the trace, the terminal)."""
