"""The programs that Daybook is compared with: they do the same work by other means, each as a separate process.

The product does not use them. Those of the intake listen on ``DAYBOOK_API_PORT``, write to ``DAYBOOK_KAFKA_TOPIC``, and
answer ``/health/live`` once they serve. Those of the day follow :mod:`benchmarks.peers.land_rules`.
"""
