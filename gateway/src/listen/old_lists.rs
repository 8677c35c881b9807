//! Looks now and then whether lists of revoked certificates are out of date: from then on clients are
//! refused in the handshake, where nobody hears why.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use gatemq_node::tls::Identity;
use tokio_util::sync::CancellationToken;

/// How often.
const AGAIN: Duration = Duration::from_secs(60);

/// Says so, until the end.
pub(crate) async fn watch(identities: Vec<Arc<Identity>>, end: CancellationToken) {
    loop {
        for identity in &identities {
            identity.tell_of_old_lists(SystemTime::now());
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            () = end.cancelled() => return,
        }
    }
}
