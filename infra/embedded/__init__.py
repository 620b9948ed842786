"""The engines without Docker: real Kafka, ClickHouse (chDB) and Apicurio Registry as supervised child processes.

Everything listens on 127.0.0.1 alone. `up` composes the whole product; tests start single engines.
"""
