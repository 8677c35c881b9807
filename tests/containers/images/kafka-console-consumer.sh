#!/bin/bash
# Kafka's own tool, in the place where the image apache/kafka has it.
exec java -Xmx128m -XX:TieredStopAtLevel=1 -cp '/opt/kafka/libs/*' \
    org.apache.kafka.tools.consumer.ConsoleConsumer "$@"
