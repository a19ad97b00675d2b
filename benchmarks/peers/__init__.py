"""What the intake's benchmark runs beside the intake, each a program of its own; nothing of the product uses them.

All listen on ``DAYBOOK_API_PORT``, write to ``DAYBOOK_KAFKA_TOPIC``, and answer ``/health/live`` once they serve.
"""
