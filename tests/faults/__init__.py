"""What must hold while parts are killed, frozen and lied to: accepted is in Kafka, refused is nowhere."""
