//! What `/metrics` shows of a bridge.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::bridge::Figures;
use crate::consume::Gauge;
use crate::mqtt::inbound::Counters;
use crate::{Bridge, consume};

/// The figures of a bridge for as long as it is there.
pub struct BridgeMetrics(Weak<Bridge>);

/// The figures of consumers.
pub struct ConsumeMetrics(pub Vec<Gauge>);

/// The figures of what comes from other brokers.
#[derive(Debug)]
pub struct ReceiveMetrics(pub Vec<Arc<Counters>>);

// === impl BridgeMetrics ===

impl BridgeMetrics {
    /// Those of this one.
    #[must_use]
    pub fn new(bridge: &Arc<Bridge>) -> Self {
        Self(Arc::downgrade(bridge))
    }
}

impl fmt::Debug for BridgeMetrics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("BridgeMetrics").finish_non_exhaustive()
    }
}

impl Collector for BridgeMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        match self.0.upgrade() {
            Some(bridge) => write(&bridge.figures(), &mut encoder),
            None => Ok(()),
        }
    }
}

// === impl ConsumeMetrics ===

impl fmt::Debug for ConsumeMetrics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ConsumeMetrics").finish_non_exhaustive()
    }
}

impl Collector for ConsumeMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let rules = self.0.iter().map(|gauge| (gauge.name(), gauge.figures()));
        write_consumed(&rules.collect::<Vec<_>>(), &mut encoder)
    }
}

impl Collector for ReceiveMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let each = |of: fn(&Counters) -> &AtomicU64| {
            let all = self.0.iter();
            all.map(move |it| (it.name.as_str(), of(it).load(Relaxed)))
        };
        let help = "Messages of another broker that the cluster has taken";
        let accepted = each(|it| &it.accepted);
        counters(
            "bridge_from_mqtt_accepted",
            help,
            "mqtt",
            accepted,
            &mut encoder,
        )?;
        let help = "Messages of another broker that were left out";
        let refused = each(|it| &it.refused);
        counters(
            "bridge_from_mqtt_refused",
            help,
            "mqtt",
            refused,
            &mut encoder,
        )?;
        let help = "Times that a message of another broker was refused for now, to be sent again";
        let retried = each(|it| &it.retried);
        counters(
            "bridge_from_mqtt_retried",
            help,
            "mqtt",
            retried,
            &mut encoder,
        )?;
        let help = "Messages of another broker that had gone there from here";
        let returning = each(|it| &it.returning);
        counters(
            "bridge_from_mqtt_returning",
            help,
            "mqtt",
            returning,
            &mut encoder,
        )
    }
}

fn write_consumed(
    rules: &[(&str, consume::Figures)],
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let each =
        |of: fn(&consume::Figures) -> u64| rules.iter().map(move |(name, it)| (*name, of(it)));
    let help = "Records of Kafka that the cluster has taken";
    let accepted = each(|it| it.accepted);
    counters(
        "bridge_from_kafka_accepted",
        help,
        "rule",
        accepted,
        encoder,
    )?;
    let help = "Records of Kafka that made no message, or that the cluster refused";
    let refused = each(|it| it.refused);
    counters("bridge_from_kafka_refused", help, "rule", refused, encoder)?;
    let help = "Those of the refused that Kafka has as dead letters; all others are left out";
    let letters = each(|it| it.dead_letters);
    let name = "bridge_from_kafka_dead_letters";
    counters(name, help, "rule", letters, encoder)?;
    let help = "Headers of Kafka that were left out since their names are no text";
    let headers = each(|it| it.headers_left_out);
    let name = "bridge_from_kafka_headers_left_out";
    counters(name, help, "rule", headers, encoder)?;
    let help = "Times that a record of Kafka was refused for now, to be sent again";
    let retried = each(|it| it.retried);
    counters("bridge_from_kafka_retried", help, "rule", retried, encoder)?;
    let help = "Records of Kafka on their way into the cluster";
    let open = each(|it| it.open);
    gauges("bridge_from_kafka_open", help, None, "rule", open, encoder)?;
    let help = "Records in this bridge's partitions of Kafka behind what is committed";
    let lag = each(|it| it.lag);
    gauges("bridge_from_kafka_lag", help, None, "rule", lag, encoder)
}

fn write(figures: &Figures, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let unfit = ConstCounter::new(figures.unfit);
    let help = "Messages of which a rule could make no record";
    let plain = encoder.encode_descriptor("bridge_unfit", help, None, MetricType::Counter)?;
    unfit.encode(plain)?;
    let returning = ConstCounter::new(figures.returning);
    let help = "Messages that a rule did not bring back to where they came from";
    let plain = encoder.encode_descriptor("bridge_returning", help, None, MetricType::Counter)?;
    returning.encode(plain)?;
    let orphans = ConstGauge::new(i64::try_from(figures.orphans).unwrap_or(i64::MAX));
    let help = "Rules that are gone and have records in the spool";
    let plain = encoder.encode_descriptor("bridge_orphans", help, None, MetricType::Gauge)?;
    orphans.encode(plain)?;
    let ways = || figures.ways.iter().map(|(name, it)| (name.as_str(), it));
    let queues = || figures.queues.iter().map(|(name, it)| (name.as_str(), it));
    let help = "Records that Kafka has confirmed";
    let confirmed = ways().map(|(name, it)| (name, it.confirmed));
    counters("bridge_confirmed", help, "kafka", confirmed, encoder)?;
    let help = "Records that Kafka will never take";
    let refused = ways().map(|(name, it)| (name, it.refused));
    counters("bridge_refused", help, "kafka", refused, encoder)?;
    let help = "Times that a record came back from Kafka's client, to be sent again";
    let failed = ways().map(|(name, it)| (name, it.failed));
    counters("bridge_failed", help, "kafka", failed, encoder)?;
    let help = "Clients of Kafka that failed for good, and were replaced";
    let replaced = ways().map(|(name, it)| (name, it.replaced));
    counters("bridge_replaced", help, "kafka", replaced, encoder)?;
    let help = "Records of the spool that were dropped because it was full";
    let dropped = queues().map(|(name, it)| (name, it.dropped));
    counters("bridge_spool_dropped", help, "rule", dropped, encoder)?;
    let help = "Records of the spool that could not be read back";
    let damaged = queues().map(|(name, it)| (name, it.damaged));
    counters("bridge_spool_damaged", help, "rule", damaged, encoder)?;
    let help = "Records on their way to Kafka";
    let open = ways().map(|(name, it)| (name, it.open));
    gauges("bridge_open", help, None, "kafka", open, encoder)?;
    let help = "What waits in the spool";
    let bytes = queues().map(|(name, it)| (name, it.bytes));
    gauges(
        "bridge_spool",
        help,
        Some(&Unit::Bytes),
        "rule",
        bytes,
        encoder,
    )
}

fn counters<'a>(
    name: &str,
    help: &str,
    label: &str,
    values: impl Iterator<Item = (&'a str, u64)>,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (of, value) in values {
        let labels = [(label, of)];
        ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn gauges<'a>(
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    label: &str,
    values: impl Iterator<Item = (&'a str, u64)>,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    for (of, value) in values {
        let labels = [(label, of)];
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{produce, spool};
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    #[derive(Debug)]
    struct Fixed(Figures);

    impl Collector for Fixed {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
            write(&self.0, &mut encoder)
        }
    }

    #[test]
    fn each_kafka_and_each_rule_has_its_line() {
        let way = produce::Figures {
            confirmed: 7,
            open: 2,
            ..produce::Figures::default()
        };
        let queue = spool::Figures {
            bytes: 99,
            dropped: 1,
            ..spool::Figures::default()
        };
        let figures = Figures {
            unfit: 3,
            returning: 4,
            ways: vec![("main".to_owned(), way)],
            queues: vec![("telemetry".to_owned(), queue)],
            orphans: 2,
        };
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Fixed(figures)));
        let mut text = String::new();
        encode(&mut text, &registry).expect("a string takes all");
        for line in [
            "bridge_unfit_total 3\n",
            "bridge_returning_total 4\n",
            "bridge_orphans 2\n",
            "bridge_confirmed_total{kafka=\"main\"} 7\n",
            "bridge_open{kafka=\"main\"} 2\n",
            "bridge_spool_dropped_total{rule=\"telemetry\"} 1\n",
            "bridge_spool_bytes{rule=\"telemetry\"} 99\n",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }

    #[derive(Debug)]
    struct Consumed(consume::Figures);

    impl Collector for Consumed {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
            write_consumed(&[("orders", self.0)], &mut encoder)
        }
    }

    #[test]
    fn each_rule_from_kafka_has_its_line() {
        let figures = consume::Figures {
            accepted: 7,
            refused: 1,
            dead_letters: 1,
            headers_left_out: 3,
            retried: 5,
            open: 2,
            lag: 30,
        };
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Consumed(figures)));
        let mut text = String::new();
        encode(&mut text, &registry).expect("a string takes all");
        for line in [
            "bridge_from_kafka_accepted_total{rule=\"orders\"} 7\n",
            "bridge_from_kafka_refused_total{rule=\"orders\"} 1\n",
            "bridge_from_kafka_dead_letters_total{rule=\"orders\"} 1\n",
            "bridge_from_kafka_headers_left_out_total{rule=\"orders\"} 3\n",
            "bridge_from_kafka_retried_total{rule=\"orders\"} 5\n",
            "bridge_from_kafka_open{rule=\"orders\"} 2\n",
            "bridge_from_kafka_lag{rule=\"orders\"} 30\n",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
