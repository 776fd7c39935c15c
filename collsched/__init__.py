"""collsched: a compiler of collective communication schedules."""
