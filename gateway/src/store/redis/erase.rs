//! Removes all that a cluster has left, which is no more and will not be again: one for trying out.

use redis::Value;

use super::config::Config;
use super::pool::{Pool, Use};
use super::reply::{self, Parts, Trouble};
use crate::retained::Quota;

/// Keys that a server looks at in one go, and that are removed in one.
const STEP: usize = 500;

/// Removes every key that begins with a configuration's prefix, in steps that hold up nobody else;
/// returns how many there were. Nothing may use them any more.
///
/// # Errors
///
/// Redis does not answer, or refuses it.
pub async fn erase(redis: &crate::config::Redis) -> Result<u64, String> {
    let config = Config::of(redis, Quota::default()).map_err(|error| error.to_string())?;
    erase_all(config).await.map_err(|trouble| trouble.text())
}

async fn erase_all(config: Config) -> Result<u64, Trouble> {
    let pool = Pool::new(config);
    let pattern = format!("{}*", escaped(&pool.layout.beginning()));
    let mut n_keys = 0;
    for server in pool.routes().await?.servers() {
        let link = pool.link(&server, Use::Requests).await?;
        let mut cursor = "0".to_owned();
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(&cursor).arg("MATCH").arg(&pattern);
            scan.arg("COUNT").arg(STEP);
            let page = link.send(&scan).await?;
            let (next, keys) = page_of(page)?;
            for keys in keys.chunks(STEP) {
                // One call each: in a Redis Cluster keys of one call are of one slot.
                let mut pipeline = redis::pipe();
                for key in keys {
                    pipeline.cmd("UNLINK").arg(key);
                }
                for answer in link.send_all(&pipeline, pool.config.timeout).await? {
                    let n_gone = reply::value(answer)?.number().unwrap_or_default();
                    n_keys = u64::saturating_add(n_keys, n_gone);
                }
            }
            if next == "0" {
                break;
            }
            cursor = next;
        }
    }
    Ok(n_keys)
}

fn page_of(page: Value) -> Result<(String, Vec<Vec<u8>>), Trouble> {
    let read = || {
        let [cursor, keys] = reply::values(page.list()?)?;
        let keys = keys.list()?.into_iter().map(Parts::bytes);
        Ok((cursor.text()?, keys.collect::<Result<_, _>>()?))
    };
    read().map_err(|reply::Malformed| Trouble::Refused("SCAN has another form".to_owned()))
}

/// A text that a pattern takes as it is.
fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '^' | '-' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}
