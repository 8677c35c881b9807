//! The secret beside the keys of a cluster, at `P:secret`, in hexadecimal digits.

use redis::Value;

use super::reply::{Malformed, Parts};
use super::{Error, RedisStore};
use crate::store::secret::Secret;

impl<T: Send + 'static> RedisStore<T> {
    /// The secret; this one if there is none yet.
    pub(crate) async fn secret(&self, new: Secret) -> Result<Secret, Error> {
        let pool = &self.shared.pool;
        let (key, slot) = pool.layout.secret();
        let text: String = new.iter().map(|byte| format!("{byte:02x}")).collect();
        let look = |_| {
            let mut get = redis::cmd("GET");
            get.arg(&key);
            get
        };
        let mut found = pool.request(slot, pool.deadline(), false, look).await?;
        if found == Value::Nil {
            let set = |_| {
                let mut set = redis::cmd("SET");
                set.arg(&key).arg(&text).arg("NX");
                set
            };
            pool.request(slot, pool.deadline(), true, set).await?;
            found = pool.request(slot, pool.deadline(), false, look).await?;
        }
        let text = found.text().map_err(|Malformed| Error::Malformed)?;
        read(&text).ok_or(Error::Malformed)
    }
}

fn read(text: &str) -> Option<Secret> {
    let mut secret = Secret::default();
    let digits = text.as_bytes();
    if digits.len() != 2 * secret.len() {
        return None;
    }
    for (byte, pair) in secret.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(secret)
}
