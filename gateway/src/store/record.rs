//! The form of the stored values. Each begins with a byte that names its form, so that a later
//! version can read what this one wrote; anything unreadable is an error, never a panic.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use smallvec::SmallVec;

use crate::message::{Damaged, Message, MessageRef};
use crate::proto::mqtt::{Qos, Version};
use crate::proto::topic::{Bounds, Filter};
use crate::session::queued::{Queued, Share, Terms};
use crate::session::received::Origin;
use crate::session::{Subscribed, Topic};
use crate::will::Will;

const FORM: u8 = 1;
/// Of a session that has a principal: its name is before the client id.
const OF_PRINCIPAL: u8 = 2;
const INLINE: u8 = 0;
const BODY: u8 = 1;
const RELEASED: u8 = 2;

/// What is stored of a session itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionRecord {
    pub(crate) client_id: String,
    pub(crate) version: Version,
    pub(crate) expiry: u32,
    /// When its connection ended, in Unix milliseconds; 0 if it had one.
    pub(crate) detached_at: u64,
    pub(crate) created_at: u64,
    /// Queue entries below this number may have been sent; `u64::MAX` while connected.
    pub(crate) sent_below: u64,
    /// Who made it; empty for nobody in particular.
    pub(crate) principal: String,
}

impl SessionRecord {
    pub(crate) fn store(&self) -> Vec<u8> {
        let form = match self.principal.is_empty() {
            true => FORM,
            false => OF_PRINCIPAL,
        };
        let mut out = vec![form, self.version as u8];
        out.put_u32(self.expiry);
        out.put_u64(self.detached_at);
        out.put_u64(self.created_at);
        out.put_u64(self.sent_below);
        if form == OF_PRINCIPAL {
            out.put_u32(self.principal.len() as u32); // a user name or client id has 64 KiB at most
            out.put_slice(self.principal.as_bytes());
        }
        out.put_slice(self.client_id.as_bytes());
        out
    }

    pub(crate) fn restore(mut stored: &[u8]) -> Result<Self, Damaged> {
        let has_principal = stored.first() == Some(&OF_PRINCIPAL);
        match has_principal {
            true if stored.len() < 1 + 29 + 4 => return Err(Damaged("it is too short")),
            true => stored.advance(1),
            false => check_form(&mut stored, 29)?,
        }
        let version = match stored.get_u8() {
            3 => Version::V31,
            4 => Version::V311,
            5 => Version::V5,
            _ => return Err(Damaged("its protocol version is unknown")),
        };
        let mut record = Self {
            version,
            expiry: stored.get_u32(),
            detached_at: stored.get_u64(),
            created_at: stored.get_u64(),
            sent_below: stored.get_u64(),
            principal: String::new(),
            client_id: String::new(),
        };
        if has_principal {
            let length = stored.get_u32() as usize;
            let split = stored.split_at_checked(length);
            let (principal, rest) = split.ok_or(Damaged("it is too short"))?;
            record.principal = text(principal)?.to_owned();
            stored = rest;
        }
        record.client_id = text(stored)?.to_owned();
        Ok(record)
    }
}

/// The value of a subscription.
pub(crate) fn store_subscribed(subscribed: &Subscribed) -> Vec<u8> {
    let flags = subscribed.qos as u8
        | u8::from(subscribed.no_local) << 2
        | u8::from(subscribed.retain_as_published) << 3
        | u8::from(subscribed.is_owed) << 4;
    let mut out = vec![FORM, flags];
    out.put_u32(subscribed.id);
    if let Some(topic) = &subscribed.replayed_to
        && subscribed.is_owed
    {
        out.extend_from_slice(topic.0.as_bytes());
    }
    out
}

/// The filter of a subscription, with its `$share/<group>/`.
pub(crate) fn filter(stored: &[u8]) -> Result<&str, Damaged> {
    let text = text(stored)?;
    let parsed = Filter::parse(text, Bounds::NONE);
    parsed.map_or(Err(Damaged("it is no topic filter")), |_| Ok(text))
}

pub(crate) fn subscribed(mut stored: &[u8]) -> Result<Subscribed, Damaged> {
    check_form(&mut stored, 5)?;
    let (flags, id) = (stored.get_u8(), stored.get_u32());
    let is_owed = flags & 0b1_0000 != 0;
    let replayed_to = match is_owed && !stored.is_empty() {
        true => Some(Box::new(Topic(text(stored)?.into()))),
        false => None,
    };
    Ok(Subscribed {
        qos: Qos::from_bits(flags & 0b11).ok_or(Damaged("its QoS is 3"))?,
        no_local: flags & 0b100 != 0,
        retain_as_published: flags & 0b1000 != 0,
        is_owed,
        replayed_to,
        id,
        asked: None,
    })
}

/// The value of a queue entry; its message is inline, or in the body of this number.
pub(crate) fn store_queued(
    out: &mut Vec<u8>,
    qos: Qos,
    terms: &Terms<'_>,
    message: &MessageRef<'_>,
    body: u64,
) {
    out.put_u8(FORM);
    out.put_u8(if body == 0 { INLINE } else { BODY });
    out.put_u8(qos as u8 | u8::from(terms.retain) << 2);
    let n_ids = u16::try_from(terms.ids.len()).unwrap_or(u16::MAX);
    out.put_u16(n_ids); // one for each overlapping subscription
    for id in &terms.ids[..usize::from(n_ids)] {
        out.put_u32(*id);
    }
    let (group, filter) = terms
        .share
        .map_or(("", ""), |share| (&*share.group, &*share.filter));
    for text in [group, filter] {
        out.put_u16(text.len() as u16);
        out.put_slice(text.as_bytes());
    }
    if body == 0 {
        message.store(out);
    } else {
        out.put_u32(message.size() as u32); // a packet has at most 256 MiB
        out.put_u64(body);
    }
}

/// The size of a queue entry, in bytes, without a look at its body: what it takes in a queue, at least.
pub(crate) fn size_of(stored: &[u8]) -> usize {
    match stored.get(1) {
        Some(&INLINE) => stored.len(),
        Some(&BODY) => {
            let end = stored.last_chunk::<12>().and_then(|end| end.first_chunk());
            end.map_or(0, |size| u32::from_be_bytes(*size) as usize + stored.len())
        }
        _ => 0,
    }
}

/// The value of an entry of which only PUBREL and PUBCOMP are missing.
pub(crate) fn released() -> [u8; 2] {
    [FORM, RELEASED]
}

pub(crate) fn queued(
    seq: u64,
    mut stored: &[u8],
    load_body: impl FnOnce(u64) -> Option<Bytes>,
) -> Result<Queued, Damaged> {
    let mut queued = Queued {
        seq,
        qos: Qos::ExactlyOnce,
        retain: false,
        ids: SmallVec::new(),
        share: None,
        body: 0,
        message: None,
    };
    check_form(&mut stored, 1)?;
    let kind = stored.get_u8();
    if kind == RELEASED {
        return Ok(queued);
    }
    let short = |_| Damaged("it is too short");
    let flags = stored.try_get_u8().map_err(short)?;
    queued.qos = Qos::from_bits(flags & 0b11).ok_or(Damaged("its QoS is 3"))?;
    queued.retain = flags & 0b100 != 0;
    for _ in 0..stored.try_get_u16().map_err(short)? {
        queued.ids.push(stored.try_get_u32().map_err(short)?);
    }
    let mut texts = [""; 2];
    for part in &mut texts {
        let length = usize::from(stored.try_get_u16().map_err(short)?);
        let (bytes, rest) = stored
            .split_at_checked(length)
            .ok_or(Damaged("it is too short"))?;
        (*part, stored) = (text(bytes)?, rest);
    }
    if !texts[0].is_empty() {
        queued.share = Some(Arc::new(Share {
            group: texts[0].into(),
            filter: texts[1].into(),
        }));
    }
    let message = if kind == INLINE {
        Message::restore(stored)?
    } else {
        stored.try_get_u32().map_err(short)?;
        queued.body = stored.try_get_u64().map_err(short)?;
        let body = load_body(queued.body).ok_or(Damaged("its body is missing"))?;
        Message::restore(&body)?
    };
    queued.message = Some(Arc::new(message));
    Ok(queued)
}

/// What there is in the value of a will.
const HAS_EXPIRY: u8 = 1;
const HAS_ORIGIN: u8 = 2;
const HAS_PRINCIPAL: u8 = 4;

/// The value of a will.
pub(crate) fn store_will(will: &Will) -> Vec<u8> {
    let mut out = vec![FORM];
    out.put_u32(will.delay);
    out.put_u32(will.expiry.unwrap_or(u32::MAX));
    let has_origin = u8::from(will.origin.is_some()) * HAS_ORIGIN;
    let has_expiry = u8::from(will.expiry.is_some()) * HAS_EXPIRY;
    let has_principal = u8::from(!will.principal.is_empty()) * HAS_PRINCIPAL;
    out.put_u8(has_expiry | has_origin | has_principal);
    out.put_u16(will.client_id.len() as u16);
    out.put_slice(will.client_id.as_bytes());
    if let Some(origin) = will.origin {
        out.put_slice(&origin.to_bytes());
    }
    if has_principal != 0 {
        out.put_u32(will.principal.len() as u32); // as in the session's record
        out.put_slice(will.principal.as_bytes());
    }
    will.message.as_ref().store(&mut out);
    out
}

pub(crate) fn will(mut stored: &[u8]) -> Result<Will, Damaged> {
    check_form(&mut stored, 11)?;
    let delay = stored.get_u32();
    let expiry = stored.get_u32();
    let flags = stored.get_u8();
    let length = usize::from(stored.get_u16());
    let (client_id, mut message) = stored
        .split_at_checked(length)
        .ok_or(Damaged("it is too short"))?;
    let mut origin = None;
    if flags & HAS_ORIGIN != 0 {
        let (bytes, rest) = message
            .split_at_checked(16)
            .ok_or(Damaged("it is too short"))?;
        (origin, message) = (Origin::from_bytes(bytes), rest);
    }
    let mut principal = "";
    if flags & HAS_PRINCIPAL != 0 {
        let too_short = Damaged("it is too short");
        let (length, rest) = message.split_first_chunk().ok_or(too_short)?;
        let length = u32::from_be_bytes(*length) as usize;
        let too_short = Damaged("it is too short");
        let (bytes, rest) = rest.split_at_checked(length).ok_or(too_short)?;
        (principal, message) = (text(bytes)?, rest);
    }
    Ok(Will {
        delay,
        expiry: (flags & HAS_EXPIRY != 0).then_some(expiry),
        client_id: text(client_id)?.into(),
        principal: principal.into(),
        origin,
        message: Message::restore(message)?,
    })
}

fn check_form(stored: &mut &[u8], length: usize) -> Result<(), Damaged> {
    if stored.len() < 1 + length {
        return Err(Damaged("it is too short"));
    }
    match stored.get_u8() {
        FORM => Ok(()),
        _ => Err(Damaged("it was written by a later version")),
    }
}

fn text(bytes: &[u8]) -> Result<&str, Damaged> {
    std::str::from_utf8(bytes).map_err(|_| Damaged("a text in it is not UTF-8"))
}

#[cfg(test)]
mod damage;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_comes_back() {
        let record = SessionRecord {
            client_id: "pump-7".to_owned(),
            version: Version::V5,
            expiry: 3600,
            detached_at: 12,
            created_at: 11,
            sent_below: 7,
            principal: String::new(),
        };
        let owned = SessionRecord {
            principal: "user ann".to_owned(),
            ..record.clone()
        };
        for (record, shortest) in [(record, 30), (owned, 42)] {
            assert_eq!(SessionRecord::restore(&record.store()), Ok(record.clone()));
            for end in 0..shortest {
                let cut = SessionRecord::restore(&record.store()[..end]);
                assert!(cut.is_err(), "cut at {end}");
            }
        }
    }

    #[test]
    fn a_will_comes_back_with_what_it_is_known_by() {
        let message = MessageRef {
            publisher: 1,
            qos: Qos::ExactlyOnce,
            retain: true,
            expires_at: u64::MAX,
            topic: "a/b",
            properties: &[],
            payload: b"x",
            trace: None,
        };
        for origin in [None, Some(Origin { source: 3, id: 4 })] {
            for (expiry, principal) in [(None, ""), (Some(7), "user ann")] {
                let kept = Will {
                    delay: 5,
                    expiry,
                    client_id: "pump-7".into(),
                    principal: principal.into(),
                    origin,
                    message: message.to_message(),
                };
                let stored = store_will(&kept);
                assert_eq!(will(&stored), Ok(kept));
                for end in 0..stored.len() - 1 {
                    assert!(will(&stored[..end]).is_err(), "cut at {end}");
                }
            }
        }
    }

    #[test]
    fn a_queue_entry_comes_back_inline_and_with_a_body_elsewhere() {
        let share = Arc::new(Share {
            group: "g".into(),
            filter: "a/#".into(),
        });
        let terms = Terms {
            qos: Qos::AtLeastOnce,
            retain: true,
            ids: &[7, 9],
            share: Some(&share),
        };
        let message = MessageRef {
            publisher: 1,
            qos: Qos::AtLeastOnce,
            retain: false,
            expires_at: u64::MAX,
            topic: "a/b",
            properties: &[],
            payload: b"x",
            trace: None,
        };
        let mut body = Vec::new();
        message.store(&mut body);
        for number in [0, 44] {
            let mut stored = Vec::new();
            store_queued(&mut stored, Qos::AtLeastOnce, &terms, &message, number);
            assert!(size_of(&stored) >= message.size());
            assert!(number == 0 || size_of(&stored) == message.size() + stored.len());
            let load = |wanted| (wanted == 44).then(|| Bytes::from(body.clone()));
            let back = queued(3, &stored, load).expect("it was just stored");
            assert_eq!(
                (back.seq, back.qos, back.retain, back.body),
                (3, terms.qos, true, number)
            );
            assert_eq!(
                (&back.ids[..], back.share),
                (&[7, 9][..], Some(share.clone()))
            );
            assert_eq!(back.message, Some(Arc::new(message.to_message())));
            for end in 0..stored.len() - 1 {
                assert!(queued(3, &stored[..end], load).is_err(), "cut at {end}");
            }
        }
        assert!(
            queued(3, &released(), |_| None)
                .expect("released")
                .message
                .is_none()
        );
    }

    #[test]
    fn what_no_client_could_subscribe_to_is_no_filter() {
        for sound in ["t", "a/+/#", "$share/g/t", "/"] {
            assert_eq!(filter(sound.as_bytes()), Ok(sound));
        }
        for damaged in ["", "a/#/b", "a+", "$share/g", "$share/+/t", "a\0"] {
            assert!(filter(damaged.as_bytes()).is_err(), "{damaged:?}");
        }
        assert!(filter(b"\xff").is_err());
    }
}
