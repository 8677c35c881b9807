//! Warns before the certificates between nodes end: a cluster whose nodes do not know one another
//! any more stands still.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;

use super::Credentials;

/// How long before the end it is told of.
const AHEAD: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often.
const AGAIN: Duration = Duration::from_secs(24 * 3600);

/// Warns now and each day, as long as there is a reason.
pub async fn warn_before(credentials: Arc<Credentials>) {
    loop {
        if let Some(n_days) = due(credentials.good_until(), SystemTime::now()) {
            let certificate = credentials.files.certificate.display();
            tracing::warn!(
                %certificate,
                n_days,
                "the certificate for other nodes, or its authority's, ends soon: put a new one in \
                 its place and send SIGHUP"
            );
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// How many whole days are left, if they are few.
fn due(good_until: SystemTime, now: SystemTime) -> Option<u64> {
    let left = good_until.duration_since(now).unwrap_or_default();
    (left < AHEAD).then(|| left.as_secs() / AGAIN.as_secs())
}

/// When the certificate for other nodes ends, for those who watch metrics.
#[derive(Debug)]
pub struct ExpiryMetric(pub Arc<Credentials>);

impl Collector for ExpiryMetric {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let end = self.0.good_until().duration_since(SystemTime::UNIX_EPOCH);
        let metric = ConstGauge::new(end.unwrap_or_default().as_secs_f64());
        let name = "node_certificate_expiry_timestamp_seconds";
        let help = "End of the certificate for other nodes, since the Unix epoch";
        metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_thirty_days_are_told_of() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let days = |n_days: u64| now + Duration::from_secs(n_days * 24 * 3600);
        assert_eq!(due(days(365), now), None);
        assert_eq!(due(days(30), now), None);
        assert_eq!(due(days(30) - Duration::from_secs(1), now), Some(29));
        assert_eq!(due(days(1), now), Some(1));
        assert_eq!(due(now, now), Some(0));
        assert_eq!(due(now - Duration::from_secs(1), now), Some(0));
    }
}
