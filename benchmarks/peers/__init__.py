"""What Daybook is held against: programs that do the same work by other means, each run as a process of its own.

Nothing of the product uses them. Those of the intake listen on ``DAYBOOK_API_PORT``, write to ``DAYBOOK_KAFKA_TOPIC``,
and answer ``/health/live`` once they serve; those of the day keep to :mod:`benchmarks.peers.land_rules`.
"""
