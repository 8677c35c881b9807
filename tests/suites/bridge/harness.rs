//! That the Kafka of these tests is one: it has a log in which things stay.

use gatemq_tests::Kafka;

#[test]
fn kafka_comes_back_to_its_port_with_its_topics() {
    let kafka = Kafka::start();
    kafka.create_topic("there", 3);
    kafka.kill();
    kafka.restart();
    let told = kafka.topics(&["--describe", "--topic", "there"]);
    assert!(told.contains("PartitionCount: 3"), "{told}");
}
