//! The net effect of batches: one final change per key, for an engine whose own batches cannot see
//! what they have changed so far.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use crate::{Batch, Error, Op};

/// What each key becomes: a value, or nothing.
pub(crate) type Net<'a> = BTreeMap<Cow<'a, [u8]>, Option<&'a [u8]>>;

/// Visits the stored keys of a range, in order, until the visitor breaks.
pub(crate) type Keys<'a> =
    dyn Fn(&[u8], &[u8], &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> Result<(), Error> + 'a;

/// Applies the batches to what is stored, without storing.
pub(crate) fn net<'a>(batches: &'a [Batch], stored: &Keys<'_>) -> Result<Net<'a>, Error> {
    let mut net = Net::new();
    for op in batches.iter().flat_map(Batch::iter) {
        match op {
            Op::Put { key, value } => {
                net.insert(Cow::Borrowed(key), Some(value));
            }
            Op::Delete { key } => {
                net.insert(Cow::Borrowed(key), None);
            }
            Op::DeleteRange { start, end } => delete_range(&mut net, start, end, stored)?,
            Op::DeleteUnlessAny { key, start, end } => {
                if !any(&net, start, end, stored)? {
                    net.insert(Cow::Borrowed(key), None);
                }
            }
        }
    }
    Ok(net)
}

fn delete_range(
    net: &mut Net<'_>,
    start: &[u8],
    end: &[u8],
    stored: &Keys<'_>,
) -> Result<(), Error> {
    if start >= end {
        return Ok(());
    }
    for (_, value) in net.range_mut::<[u8], _>(range(start, end)) {
        *value = None;
    }
    stored(start, end, &mut |key| {
        if !net.contains_key(key) {
            net.insert(Cow::Owned(key.to_vec()), None);
        }
        ControlFlow::Continue(())
    })
}

fn any(net: &Net<'_>, start: &[u8], end: &[u8], stored: &Keys<'_>) -> Result<bool, Error> {
    if start >= end {
        return Ok(false);
    }
    let mut changed = net.range::<[u8], _>(range(start, end));
    if changed.any(|(_, value)| value.is_some()) {
        return Ok(true);
    }
    let mut found = false;
    stored(start, end, &mut |key| {
        found = !net.contains_key(key);
        if found {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    Ok(found)
}

fn range<'a>(start: &'a [u8], end: &'a [u8]) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    (Bound::Included(start), Bound::Excluded(end))
}
