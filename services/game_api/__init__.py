"""The intake: takes events over HTTP and answers once Kafka has acknowledged them.

:mod:`game_api.app` assembles it; ``README.md`` in this folder is the contract page for game developers.
"""
