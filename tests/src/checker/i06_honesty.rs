//! I6, honest answers: a session that was there is there again, and one that ended is not (Session
//! Present); what was first sent after UNSUBACK does not come. That what was first sent after
//! SUBACK comes, by whichever gateway, is I1. Source: `[MQTT-3.2.2-2]`, `[MQTT-3.2.2-3]`,
//! `[MQTT-3.10.4-1]`, P2, P3.
//!
//! A session may be there although no CONNACK told so, if one was lost on its way: who says nothing
//! of its CONNECTs forgoes that a session is not invented. Receipts after UNSUBACK are found by I2,
//! which looks at each receipt.

use std::collections::HashMap;

use super::{Picture, Verdict, Violation};
use crate::history::Event;

/// What the client knows of its session.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Session {
    /// CONNACK came, and nothing ended it since.
    There,
    /// It ended; so many CONNECTs went out since.
    Ended(u32),
    /// Nobody can tell.
    Open,
}

pub(super) fn judge(picture: &Picture<'_>, verdict: &mut Verdict) {
    let mut sessions: HashMap<&str, Session> = HashMap::new();
    for record in picture.records {
        match &record.event {
            Event::Connecting {
                client,
                clean_start,
                ..
            } => {
                let session = sessions.entry(client).or_insert(Session::Open);
                *session = match *session {
                    Session::Ended(n_attempts) => Session::Ended(n_attempts + 1),
                    _ if *clean_start => Session::Open,
                    session => session,
                };
            }
            Event::Connected {
                client,
                session_present,
                clean_start,
                ..
            } => {
                let before = sessions.insert(client, Session::There);
                let was_there = before == Some(Session::There);
                let was_ended = *clean_start || before == Some(Session::Ended(1));
                let client = client.clone();
                if was_there && !session_present && !clean_start {
                    verdict.violations.push(Violation::SessionLost { client });
                } else if was_ended && *session_present {
                    let found = Violation::SessionInvented { client };
                    verdict.violations.push(found);
                }
            }
            Event::SessionEnded { client, .. } => {
                sessions.insert(client, Session::Ended(0));
            }
            _ => {}
        }
    }
}
