//! What `/metrics` shows of a bridge.

use std::fmt;
use std::sync::{Arc, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::Bridge;
use crate::bridge::Figures;

/// The figures of a bridge for as long as it is there.
pub struct BridgeMetrics(Weak<Bridge>);

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

fn write(figures: &Figures, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let unfit = ConstCounter::new(figures.unfit);
    let help = "Messages of which a rule could make no record";
    let plain = encoder.encode_descriptor("bridge_unfit", help, None, MetricType::Counter)?;
    unfit.encode(plain)?;
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
            ways: vec![("main".to_owned(), way)],
            queues: vec![("telemetry".to_owned(), queue)],
        };
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Fixed(figures)));
        let mut text = String::new();
        encode(&mut text, &registry).expect("a string takes all");
        for line in [
            "bridge_unfit_total 3\n",
            "bridge_confirmed_total{kafka=\"main\"} 7\n",
            "bridge_open{kafka=\"main\"} 2\n",
            "bridge_spool_dropped_total{rule=\"telemetry\"} 1\n",
            "bridge_spool_bytes{rule=\"telemetry\"} 99\n",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
